"""Names and addresses, by rules. Opt-in, since what they find is a judgement; another detector can take their place: a tuple of rules like any.

A Chinese name is a surname and one or two characters more. That it is one, the words beside it tell: such as introduce people (联系人, 我叫),
such as follow them (先生, 的手机号), or a row of a table with a number beside it. Where it ends, what comes next tells.
An address is found by its house number, and reaches back over the words before it.
"""

import re

from domain.deid.rule import SHAPED, SPOKEN, Anchor, Around, Found, Rule

_SURNAMES = (
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文"
    "庞樊兰殷施陶洪翟安颜倪严牛温芦季俞章鲁葛伍韦申尤毕聂丛焦向柳邢岳齐梅莫庄辛祝左涂谷祁舒耿牟卜詹苗凌费靳盛童欧甄项游阳裴席屈鲍覃霍翁隋植甘景柏宁柯阮桂闵柴华冉房饶刁瞿戚丘古米池滕晋苑邬臧畅宫苟褚廉简娄盖符奚穆党燕郎邸冀谈姬屠郜晏栾郁蒙喻揭窦迟敖鄢冷卓花仇艾蓝巩井仲虞封竺冼楚佟栗匡宗巫鞠荆谌银习胥蔺"
)
_COMPOUND = "欧阳|上官|司马|诸葛|慕容|司徒|夏侯|皇甫|尉迟|公孙|令狐|宇文|长孙|东方|南宫|端木|百里|呼延|轩辕|独孤|申屠|淳于|单于|钟离|闾丘"
_FIRSTS = "".join(each[0] for each in _COMPOUND.split("|")) + "阿古扎买艾努帕热卓洛次尼德"
"""How names of two characters or with a dot often begin."""
_H = r"[\u4e00-\u9fff]"
_NOT_IN_NAMES = "的了在是和与有为不也都就这那个们我你他她它及或等于从到把被对因而但所其之以可能会要说去来过还又再很最更号电手邮身证地住生性别年月日请先女男已未无非将该此每各某另什么怎谁哪几收称让给跟"
_FOLLOWING = (
    "先生|女士|小姐|同学|老师|经理|电话|联系|银行|卡号|微信|出生|介绍|表示|投诉|一起|今年|名下|反馈|申请|购买|通过|报名|提交|签收|反映"
)
_G = rf"(?!{_FOLLOWING})(?![{_NOT_IN_NAMES}]){_H}"
_NAME = rf"(?:(?:{_COMPOUND})(?:{_G}){{1,2}}|[{_SURNAMES}](?:{_G}){{1,3}}|(?:{_G}){{1,6}}[·•・](?:{_G}){{1,8}})"
_END = rf"(?=[^\u4e00-\u9fff·•・]|[{_NOT_IN_NAMES}]|$|{_FOLLOWING}|向|并)"
_STRONG = (
    "姓名|名字|我叫|叫做|名叫|联系人|收件人|收货人|寄件人|发件人|户名|开户人|持卡人|持证人|法定代表人|法人代表|法人|派送员|快递员|配送员|骑手|车主|驾驶员|申请人|经办人|负责人"
    "|投诉人|报案人|当事人|委托人|受托人|参会人员?|与会人员?|主持人|记录人|汇报人|监护人|收款人|付款人|投保人|被保险人|受益人|借款人|担保人|签收人|候选人|应聘者|求职者"
)
_WEAK = "客户|用户|患者|病人|司机|员工|乙方|甲方|本人|作者|导师|学生|家长|房东|租客|业主|原告|被告|邻居|同事|朋友|室友|同学|老师|医生|护士|律师|教授|经理|主任|昨天|今天|据|采访|致"
_GIVEN = (
    "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉兰红梅鹏飞宇浩轩子涵欣怡梓雨晨佳琪思颖嘉豪俊凯博文雪婷晓琳志建国振海波龙辉斌"
    "峰林春云燕玲莉萍琴凤洁倩颜薇蕾璐瑶瑞瑾琼珍珠莹莲菊菲蓉蕊薛虹蝶露霖霏震霄青靖静靓韵音韬韩顺颂颐风馨骏鸿鹤麟黎鑫铭锋锐锦镇钰钧铁银金釗长门阳阿陆雅雁雄雯霜康彦彬彪影征德忠念忆怀恒恩恺悦惠慧懿成戈才扬承"
    "抒拓捷敬斯新旭昊昌昕星春昭显晋晔晗晖晟晴智暄暖曦曼月朋朗望朝本权材松柏柔柯栋树桐桦梁棋森楠榕槐樱正武毅民水永汉江沁沛泉泓法泰泽洪津浚润淇淑清渊温湘源溪滢滨漫潇澄澜灵灿炎炜炫烁烨焕煜熙燕爱牧献珂珊珏理琛琦琨琰瑜璇璟甜生田男畅登白百益盈睿知石碧磊礼祖祥福禹秉秋程稷穆立竹笑筠粤素紫红纪纯绍维绮绣翔翠翰耀聪胜舒良艺芝芬芮芷芸苏若苗英茂茗茜茵荣荷莎莺菁萱葵蒙蓝蔓蕙蕴薪藏虎衡裕西观言诗诚语谦贝贞贤贵起跃路达远连迪逸道邦郁酉采野镜问闻隆馥骁高魁鲁鸣麒齐宁安宏宗定宜宝家容宸富寒尚山岚岩岳峻川巍巧帅帆庆庭康廷弘弛彤彩仁介代令仪任众会传伦伯佩依侠保信俐健偲元先光兆克全兴其典兵冬冰凌凡凯利剑力功加劲勋勤包化北千卓南博卫厚双发可史叶司向启周和品哲唯善喜园圆坚坤培基堂城增士声复夏多天太夫奇奕奥好如妍妮姗姝姣娇婉媛嫣子孔存孝孟学宝"
)
_KNOWN = re.compile(rf"(?:{_COMPOUND}|[{_SURNAMES}]{{1,2}})[{_GIVEN}]{{1,2}}|.*[·•・].*")
"""Names of common characters, and those with a dot, which no other word has."""
_WORDS = re.compile(
    r"周[末边报期围日刊年]|高[兴效级速度温考等中校层清新]|张[开贴力量家口]|王[国者]|马[上路桶拉]|白[云天色领酒菜]|黄[河色山金页瓜]|江[山湖苏西南]|方[法式便向案面程形]|石[头油材家]|夏[天季日令]|安[全装排静卓阳徽]"
    r"|康[复健]|金[属额融色牌华字钱]|文[明件本字章化档学员]|常[用见规州务识]|易[用发错懂]|任[务何意职选]|程[序度控]|于[是此]|万[元分一物能科达]|华[为东南北中西语]|温[度州馨和]|单[位独号]|宁[波静夏]|平[台安均]"
    r"|李[宁白]|沈[阳飞]|老[干]|鲁[迅]|杜[甫绝]|苏[轼州]|曹操|屠呦|叶[片子]|钱[包]|熊猫|龙[头]|雷[达]|钟[表]|牛[奶]|季[度节]|章[节程]|费[用]|古[代]|米[饭]|池[塘]|欧[元洲]|阳[光台]|游[戏客]|景[区色]|武[汉侯器]"
    r"|王老吉|周大福|张小泉|林[业地]|宋[代]|唐[代朝]|汪洋|田[野]|姜汤|范[围例]|余[量额下]|戴上|何[时处况等]|郑[州重]|谢谢|韩国|董事|许[多可]|曾经|顾[客问]|孔径|尹始|汤匙|乔木|洪[水]|施[工]|陶[瓷]|严[重格]"
    r"|盛[大]|童[年]|简[单介]|符[合号]|封[面]|蓝[色]|卓[越]|花[费园]|冷[却]|燕[子麦]|盖[章]|景[观]|席[位]|植[物]|甘[肃]|柏[林]|桂[林花]|柴[油]|房[间屋产东]|项[目]|向[量]|左[右]|庄[园]|谷[歌]|史[料]|段[落]|毛[病]|孟[加]"
)
"""Words that begin as names do."""
_ORGANISED = re.compile(r"大学|银行|公司|集团|医院|市|省|区|县|镇|村|路|街|局|科技|学院|学校|厂|店|站|所|馆|社|会|牌|级|栋|室|运动|产品")
_GLUE = r"[：:是为叫名\"'“「\s|，（(,、]{0,4}"


def _introduced(match: re.Match[str], around: Around) -> Found | None:
    name, glue = match["v"], match["g"]
    labelled = match["s"] is not None and glue.strip(" \t") != ""
    return _judged(match, around, 0.9) if labelled or _KNOWN.fullmatch(name) else None


def _listed(match: re.Match[str], around: Around) -> Found | None:
    before = around.before(match.start("v"))
    return _judged(match, around, 0.85) if _KNOWN.fullmatch(match["v"]) and _AFTER_NAMES.search(before) else None


_AFTER_NAMES = re.compile(rf"(?:{_STRONG}|{_WEAK}|[，。\n]){_GLUE}(?:{_NAME}\s?[、，和与及]\s?){{1,6}}$")
_BESIDE = re.compile(r"(?:^|[^\u4e00-\u9fff]|[和与及给找问跟对让叫是据请到])$")


def _followed(match: re.Match[str], around: Around) -> Found | None:
    known = _KNOWN.fullmatch(match["v"]) is not None
    return _judged(match, around, 0.8) if known and _BESIDE.search(around.before(match.start("v"))) else None


def _judged(match: re.Match[str], around: Around, score: float) -> Found | None:
    start, end = match.span("v")
    if _WORDS.match(match["v"]) or _ORGANISED.match(around.after(end)):
        return None
    return Found(start, end, SPOKEN, score)


_ENGLISH = r"[A-Z][a-z]{1,15}(?:-[A-Z][a-z]{1,15})?(?: [A-Z]\.)? [A-Z][a-z]{1,15}(?:-[A-Z][a-z]{1,15})?"
_ENGLISH_WORDS = re.compile(
    r"(?:The|This|That|New|North|South|East|West|San|Los|United|Hong|Visual|Open|Google|Deep|Machine|Best|Kind|Dear|Good|Thank)\b"
)


def _english(match: re.Match[str], _: Around) -> Found | None:
    return None if _ENGLISH_WORDS.match(match["v"]) else Found(*match.span("v"), SPOKEN, 0.85)


_CUT = re.compile(r"寄[到往至]|送[到至]|发[到往至]|搬[到至]了?|搬家到|住在|家住|居住在?|位于|[住地]址[是为]?|现住|在|到了?|是|：|，")
_BACK = re.compile(rf"(?:{_H}|[0-9A-Za-z·])+$")


def _address(match: re.Match[str], around: Around) -> Found | None:
    """Reach back over the words before the house number, as far as the last one that leads to a place."""
    before = around.before(match.start())
    run = _BACK.search(before)
    words = run[0][-28:] if run else ""
    leads = list(_CUT.finditer(words))
    words = words[leads[-1].end() :] if leads else words
    if len(re.findall(_H, words)) < (1 if match["r"] else 2) or re.search(r"(?:^|[^门])第$|共$|等$", words):
        return None
    told = bool(leads) or re.search(r"址|收货|收件|寄|送|住", before) is not None or re.search(r"[省市区县镇]", words) is not None
    return Found(match.start() - len(words), match.end(), SPOKEN if told else SHAPED, 0.9 if told else 0.7)


_ROOM = r"(?:[0-9]{1,4}(?:-[0-9]{1,4}){0,2}(?:号楼|号院|号|栋|幢|座|单元|层|楼|室|户|房)|[A-Z][0-9]{0,2}[座栋区幢]|[一二三四五六七八九十]{1,3}(?:单元|层|楼|栋)|[0-9]{3,4}(?![0-9年元月米万公%]))"
_ESTATE = rf"{_H}{{2,8}}(?=[0-9A-Z]{{1,4}}(?:-[0-9]{{1,4}})?(?:栋|幢|号楼|座|单元|室))"
_OPENED = b"|".join(each.encode() for each in f"{_STRONG}|{_WEAK}".replace("人员?", "人").split("|"))

PEOPLE: tuple[Rule, ...] = (
    Rule(
        id="name_introduced",
        type="PERSON",
        pattern=re.compile(rf"(?:(?P<s>{_STRONG}|(?<![A-Za-z])name)|{_WEAK})(?P<g>{_GLUE})(?P<v>{_NAME}){_END}"),
        judge=_introduced,
        anchors=(Anchor(rb"(?:" + _OPENED + rb"|name)", 12),),
        spoken=True,
    ),
    Rule(
        id="name_listed",
        type="PERSON",
        pattern=re.compile(rf"(?<=[、，和与及\s])(?P<v>{_NAME}){_END}"),
        judge=_listed,
        anchors=(
            Anchor(
                rb"(?:"
                + "、|，|和|与|及".encode()
                + rb") ?(?:"
                + b"|".join(each.encode() for each in sorted({*_SURNAMES, *_FIRSTS}))
                + rb")",
                4,
            ),
        ),
    ),
    Rule(
        id="name_followed",
        type="PERSON",
        pattern=re.compile(
            rf"(?P<v>{_NAME})(?=先生|女士|小姐|同学|老师|师傅|阿姨|的(?:手机|电话|邮箱|身份证|地址|微信|银行卡|生日|账户)|\s?收[）)，,\s]|[（(](?:\+?86)?1[3-9]|和{_NAME}|一起)"
        ),
        judge=_followed,
        anchors=(
            Anchor(
                rb"(?:"
                + "先生|女士|小姐|同学|老师|师傅|阿姨|的手机|的电话|的邮箱|的身份证|的地址|的微信|的银行卡|的生日|的账户|收）|收，|和|一起".encode()
                + rb"| ?\xe6\x94\xb6[),]"
                rb"|(?:[(]|\xef\xbc\x88)1[3-9])",
                16,
            ),
        ),
    ),
    Rule(
        id="name_in_a_row",
        type="PERSON",
        pattern=re.compile(rf"(?<=[\s|,'\"\t])(?P<v>{_NAME})(?=[\s|,'\"\t，]{{1,5}}(?:[0-9+(]|[0-9A-Za-z._-]{{1,40}}@))"),
        judge=_followed,
        anchors=(Anchor(rb"[\xe4-\xe9][\x80-\xbf]{2}(?:[\s|,'\"]|\xef\xbc\x8c){1,5}[0-9A-Za-z+(]", 16),),
    ),
    Rule(
        id="name_english",
        type="PERSON",
        pattern=re.compile(
            rf"(?:(?:[Tt]his is|[Mm]y name is|[Nn]ame(?: is|[:：])?|[Nn]amed|[Ss]hip to|[Dd]eliver to|[Cc]ontact|[Aa]ttn[:.]?|[Dd]ear|Mrs?\.?|Ms\.?|Dr\.?|Prof\.?|[Ss]incerely,|"
            rf"[Ss]igned by|I am|I'm|[Cc]ustomer|[Pp]atient|[Ee]mployee|[Rr]ecipient:?|[Ss]ender:?)\s|(?:姓名|员工|客户|联系人|收件人|作者|候选人|[Nn]ame\"?:)\s?[：:是\"']{{0,2}}\s?)\"?(?P<v>{_ENGLISH})(?![A-Za-z])"
        ),
        judge=_english,
        anchors=(Anchor(rb"[ \"':\xba\x9a\xa5\xb7\x8d\x80\x85\xaf][A-Z][a-z]{1,15} [A-Z]", 48),),
        spoken=True,
    ),
    Rule(
        id="address",
        type="ADDRESS",
        pattern=re.compile(
            rf"(?:(?P<r>路|街|大道|道|巷|胡同|里|村|弄)\s?[0-9]{{1,5}}(?:-[0-9]{{1,4}})?(?:号院?|弄)|(?<![0-9A-Za-z])[0-9]{{1,3}}(?:栋|幢|号楼|座)\s?(?:[0-9]{{1,2}}单元\s?)?[0-9]{{2,4}}(?:室|房|号)?)"
            rf"(?:之[0-9])?(?:\s?(?:{_ESTATE})?{_ROOM}){{0,5}}"
        ),
        judge=_address,
        anchors=(
            Anchor(rb"(?:" + "路|街|道|巷|胡同|里|村|弄".encode() + rb") ?[0-9]{1,5}(?:-[0-9]{1,4})?(?:" + "号|弄".encode() + rb")", 16),
            Anchor(rb"[0-9](?:" + "栋|幢|号楼|座".encode() + rb") ?[0-9]{1,4}", 16),
        ),
    ),
)
