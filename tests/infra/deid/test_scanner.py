"""The fast scanner and none at all find the same, in whatever text and on whatever thread."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from domain.deid.find import Detectors
from domain.deid.policy import BUILT_IN
from infra.deid import engine
from infra.deid.scanner import HyperscanScanner
from tests.deid import WIDE, card, plain, resident_id, spans

PIECES = [
    "手机13812345678",
    "138 1234 5678",
    "幺三八一二三四五六七八",
    resident_id(),
    card(),
    "010-88886666转12",
    "a1@qq.com",
    "10.2.3.4",
    "240e:3a:1::5",
    "3c:22:fb:1a:2b:3c",
    "京A·12345",
    "微信号abc_1234",
    "密码：Xk29!pqr",
    "生日1990年5月3日",
    "https://a.cn/?token=k3J9sd8fQ2mZ",
    "订单编号13812345678",
    "，",
    "。",
    " ",
    "\n",
    "的",
    "\u00a0",
    "x",
    "１",
    "Ａ",
    "－",
    "（",
    "＝",
    "0",
    "😀",
]


def texts(count: int) -> list[str]:
    chance = random.Random(5)
    made = ["".join(chance.choices(PIECES, k=chance.randint(1, 12))) for _ in range(count)]
    return [text.translate(WIDE) if chance.random() < 0.2 else text for text in made]


def test_both_find_the_same() -> None:
    fast = Detectors(BUILT_IN, HyperscanScanner(BUILT_IN))
    for text in texts(1500):
        assert spans(text, detectors=plain()) == spans(text, detectors=fast), text


SELDOM = [
    "(010)\u00a088886666",
    "(010)\u201388886666",
    "(138)\u00a012345678",
    "京A\u00a0D12345",
    "密钥是：k3J9sd8fQ2mZ7Lq0xA",
    "令牌为：k3J9sd8fQ2mZ7Lq0xA",
    "secret == k3J9sd8fQ2mZ7Lq0xA",
    "api_key\t=\t'k3J9sd8fQ2mZ7Lq0xA'",
    "access token:\tk3J9sd8fQ2mZ7Lq0xA",
    "a\t(at)\tqq.com",
    "6222 - 0200 - 0000 - 0007",
    "621700 0000 0000 00004",
    "电话 138 - 12345678",
    "电话 138 - 1234-5678",
    "+86.10.88886666",
    "+86010-88886666",
    f"身份证 {resident_id()[:-1]}-{resident_id()[-1]}",
    "身份证 910105670401001",
    "联系人:John Smith",
    "name:John Smith",
    "联系人：张伟，李娜",
    "联系人：张伟、 李娜",
    " 张伟，13812345678",
    "电话：幺 三 八 幺 二 三 四 五 六 七 八",
    "一、三、八、一、二、三、四、五、六、七、八",
]


@pytest.mark.parametrize("text", SELDOM)
def test_both_find_what_is_seldom_spelt_so(text: str) -> None:
    assert [] != spans(text, detectors=plain()) == spans(text)


def test_threads_do_not_disturb_each_other() -> None:
    many = texts(400)
    alone = [spans(text) for text in many]

    with ThreadPoolExecutor(4) as pool:
        assert alone == list(pool.map(spans, many))


def test_this_machine_has_the_fast_one() -> None:
    assert isinstance(engine.detectors().scanner, HyperscanScanner)
