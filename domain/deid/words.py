"""Words beside a number: hot words say what it is, vetoes say that it is something else. A JSON field's name counts as a word before it."""

import re
from functools import lru_cache

WINDOW = 48
"""Characters before a value in which a word still speaks for it."""
AFTER = 12
"""Characters behind it."""

_CALL = """
手机 电话 联系 致电 来电 去电 拨打 拨号 座机 固话 传真 热线 号码是 机主 主叫 被叫 短信 收件 收货 签收 投诉人 报案人 家长 监护人 微信
tel phone mobile cell call contact fax hotline sms reach dial msisdn whatsapp
"""
_NUMBERED = """
订单 工单 运单 快递 物流 面单 包裹 流水 单号 单据 交易 参考号 编号 编码 序列 序号 批次 批号 型号 货号 料号 物料 条码 条形码 凭证 票号 发票 合同 案号 文号 卷号
会议 房间号 档案 图书 书号 版本 固件 提交 学习率 损失 时间戳 毫秒 金额 余额 价格 总价 库存 阅读量 播放量 粉丝 步数 样本 商品 产品 设备号 资产 哈希 校验
任务 会话 请求号 追踪 日志号 账单 取件 券码 兑换码 验证码 商户 报文 报销 保单 索引 主键 定价 售价 标价 营收 销量 人口 参数
order trade trace tracking serial batch invoice reference ^ref$ txn transaction ticket waybill shipment sku isbn issn build commit hash checksum
version epoch timestamp ^ts$ step loss seed amount price total size bytes offset count index ^idx$ session request ^uid$ uuid guid nonce ^sn$ ^s/n$
part_no model_no ^pid$ ^port$ job task bbox score ^id$ ^seq$ 会员 样本
"""
_ADDRESSED = """
^ip inet addr host server peer client remote gateway upstream proxy dns dhcp lease subnet listen ssh ping login from_root connect accepted ^src$ ^dst$ route
服务器 主机 地址 网关 内网 外网 公网 登录 登陆 来源 访问 节点 端口 网段 域名 解析 机器 网卡 白名单 黑名单 攻击 请求来自
"""
_VERSIONED = """
版本 固件 升级 更新 降级 回滚 补丁 发布 构建 驱动 内核 客户端 安装包 依赖 软件 插件 编译器 解释器 引擎 框架 浏览器 操作系统 组件 模块 章 条款 小节 编号 规范 标准 目录 型号 系统版
version ^ver$ ^v$ release upgrad updat downgrad rollback firmware build patch driver kernel sdk plugin library package install ^pip$ ^npm$ ^apt$
chrome firefox safari edge android ^ios$ windows section chapter == >= <= ~=
"""


class _Lexicon:
    """Words for and against, found in one pass; `^` and `$` mark where an ASCII word must begin or end, `_` is a space."""

    def __init__(self, telling: str, vetoing: str) -> None:
        marked = {word.replace("_", " "): meaning for words, meaning in ((telling, TELLING), (vetoing, VETOED)) for word in words.split()}
        self._meaning = {word.strip("^$"): meaning for word, meaning in marked.items()}
        firsts: dict[str, list[str]] = {}
        for word in sorted(marked, key=len, reverse=True):
            bare = word.strip("^$")
            end = r"(?![a-z])" if word[-1] == "$" else ""
            firsts.setdefault((r"(?<![a-z])" if word[0] == "^" else "") + re.escape(bare[0]), []).append(re.escape(bare[1:]) + end)
        # The class in front turns most places away before a hundred words are tried there.
        heads = "".join(sorted({re.escape(word[0]) for word in self._meaning}))
        branches = "|".join(f"{first}(?:{'|'.join(rests)})" for first, rests in firsts.items())
        self._pattern = re.compile(f"(?=[{heads}])(?:{branches})")

    def nearest(self, before: str) -> tuple[int, int]:
        """Return what the last word says, and where it ends; SILENT where there is none. `before` is in lower case."""
        for start in (max(0, len(before) - NEAR), 0):
            last = None
            for match in self._pattern.finditer(before, start):
                last = match
            if last is not None:
                return self._meaning[last[0]], last.end()
        return SILENT, 0


TELLING, SILENT, VETOED = 1, 0, -1
NEAR = 16
"""Most words stand this close; only where none does is the whole window read."""
_TELEPHONES = _Lexicon(_CALL, _NUMBERED)
_ADDRESSES = _Lexicon(_ADDRESSED, _VERSIONED)

_LABEL_GLUE = re.compile(r"[\s:：=#\"'`(（【\[\]）)号码编单数量为是的第共约达至到从、和及与或/~|_.0-9a-z-]*")
"""What may stand between a label and its value; other values of the same list too."""
_COUNTED = re.compile(
    r"\s?(?:号(?:订单|工单|运单|包裹|单)|元|万|亿|美元|港币|人民币|usd|cny|rmb|bytes?\b|字节|条|个|次|步|件|ms\b|毫秒|微秒|秒|行|tokens?\b|人次|公里|吨|%|e[+-]?\d)",
    re.IGNORECASE,
)
_RELEASED = re.compile(
    r"\s?(?:版本?|[章节条款]|release|版的|及以上|以上|升级|更新|之前的版本|is out|installed|已?安装|fixes|fixed|sdk)", re.IGNORECASE
)
_NEW_SENTENCE = re.compile(r"[。；;！!？?\n]")
_PORT = re.compile(r"\s?port\s[0-9]|:[0-9]{2,5}(?![0-9.])|/[1-3]?[0-9](?![0-9])", re.IGNORECASE)
_PRODUCT = re.compile(r"[a-z]{2,}/$")
"""As in Chrome/114.0.5735.198."""

_CARD_WORDS = re.compile(
    r"卡号|银行卡|储蓄卡|信用卡|借记卡|账户|账号|帐号|帐户|开户|收款|汇入|付款|card|account|\bacct\b|iban|pan\b", re.IGNORECASE
)
_ID_WORDS = re.compile(
    r"身份证|证件号|证件号码|公民身份|身份号码|身份证件|居民证|id_?card|identity|id_?number|\bid ?no\b|cert_?no|sfz|证号", re.IGNORECASE
)


def number_beside(before: str, after: str) -> int:
    """What the words around a plain number say of it: TELLING that it is a telephone's, VETOED that it counts or names something else."""
    if _COUNTED.match(after):
        return VETOED
    before = before.lower()
    meaning, end = _TELEPHONES.nearest(before)
    return SILENT if meaning == VETOED and not _LABEL_GLUE.fullmatch(before, end) else meaning


def address_beside(before: str, after: str) -> int:
    """What the words around four numbers with dots say: TELLING that they are an address, VETOED that they are a version."""
    if _RELEASED.match(after):
        return VETOED
    before = before.lower()
    if _PRODUCT.search(before):
        return VETOED
    meaning, end = _ADDRESSES.nearest(before)
    if meaning == VETOED and _NEW_SENTENCE.search(before, end):
        meaning = SILENT
    return TELLING if meaning == SILENT and _PORT.match(after) else meaning


def says_card(before: str) -> bool:
    """Whether the words before a number call it a card or an account."""
    return bool(_CARD_WORDS.search(before))


def says_identity(before: str) -> bool:
    """Whether the words before a number call it an identity card."""
    return bool(_ID_WORDS.search(before))


_KEYED = {
    "QQ": r"(?<![a-z])qq(?![a-z])|扣扣|企鹅号",
    "WECHAT": r"wechat|weixin|(?<![a-z])wx(?:_?id)?(?![a-z])|微信",
    "DATE_OF_BIRTH": r"birth|(?<![a-z])dob(?![a-z])|出生|生日",
    "PASSWORD": r"passw|(?<![a-z])pwd|passphrase|密码|口令",
    "API_KEY": r"api_?key|secret|access_?key|(?<![a-z])token(?![a-z]*s)|credential|密钥",
    "CN_PASSPORT": r"passport|护照",
    "CN_TRAVEL_PERMIT": r"permit|通行证|回乡证|台胞证",
    "GPS": r"(?<![a-z])(?:lat|lng|lon|latitude|longitude|coord\w*|gps|location)(?![a-z])|经度|纬度|坐标|经纬度|定位",
    "HMT_ID": r"hkid|twid|港澳|台湾",
    "CN_RESIDENT_ID": r"id_?card|身份证|identity|证件",
    "BANK_CARD": r"bank_?card|card_?no|card_?num|银行卡|卡号",
    "CN_LANDLINE": r"tel|phone|fax|座机|电话|传真",
    "PERSON": r"(?<![a-z])(?:real_?|full_?|user_?|buyer_?|customer_?|contact_?|patient_?)?name(?![a-z])|姓名|联系人|客户名|收件人",
    "ADDRESS": r"addr|地址|住址",
}
_KEY_WORDS = {type_: re.compile(words) for type_, words in _KEYED.items()}


_AROUND = re.compile(r"\(\?<?[!=][^)]*\)")
"""A look around, which a fast scanner does without."""


def key_pattern(type_: str) -> bytes | None:
    """Return a pattern, caseless, over JSON as it is written, that every field matches whose name speaks for that type."""
    named = _KEYED.get(type_)
    return None if named is None else b"(?:" + _AROUND.sub("", named).encode() + rb")[^\"]*\"\s*:"


@lru_cache(maxsize=4096)
def named_by(key: str) -> frozenset[str]:
    """Return the types that a JSON field of this name holds, of those whose values need a word beside them."""
    key = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower()
    return frozenset(type_ for type_, words in _KEY_WORDS.items() if words.search(key))
