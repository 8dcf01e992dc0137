"""Detectors of values that only the word beside them makes personal: accounts, passports, dates of birth, passwords, places.

The word may also be the name of the JSON field that holds the value.
"""

import re

from domain.deid import checks
from domain.deid.digital import is_placeholder
from domain.deid.rule import CHECKED, END, SPOKEN, Anchor, Around, Found, Rule, shaped
from domain.deid.text import digits, letters_and_digits

_BETWEEN = r"[^0-9A-Za-z\n\0，。；,;！？!?<>*\ufffc]{0,12}"
"""Between a label and its value: punctuation and a few words such as 号码是, but no other value and no new clause."""
_BETWEEN_BYTES = rb"[^0-9A-Za-z\n\x00,;!?<*]{0,36}"
_SPACE_BYTES = rb"(?:[\t-\r ]|\xc2\xa0|\xe2\x80[\x80-\x8a\xaf]|\xe2\x81\x9f|\xe3\x80\x80)"
_LABEL = r"(?:[\s_-]?(?:id|no|num|number|code|account|acct|card|is)(?![A-Za-z])\.?){0,3}"
_LABEL_BYTES = rb"(?:[ _-]?(?:id|no|num|number|code|account|acct|card|is)\.?){0,3}"
_OPENING = r"[\"'“”‘’「『【\[(（`]?"
_NOT_OURS = r"(?![Xx]0)(?!\w{0,12}(?:REDACTED|redacted))(?![A-Z_]{2,40}\()"


def _bytes(words: str) -> bytes:
    return words.encode()


_QQ_WORDS = r"(?<![A-Za-z])(?:qq|q\s?q|[Qq](?=[：:号群]))|扣扣|蔻蔻|企鹅|秋秋|球球"
_WECHAT_WORDS = r"微信|(?<![A-Za-z])[Vv](?=：)|薇信|威信|徽信|微❤|薇❤|卫星号|[Vv]信|(?<=[加＋+])[Vv](?![A-Za-z])|(?<![0-9A-Za-z+/=])(?:vx|wx|v❤|weixin|wechat)"
_WECHAT_STOP = re.compile(
    r"(?:official|mini[_-]?\w*|pay\w*|payment\w*|server\w*|android\w*|login\w*|config\w*|callback|account\w*|article\w*|group\w*|messag\w*|wechat\w*|weixin\w*"
    r"|browser|public|number|username|password|client|mobile|desktop|windows|version|service|plugin|developer|program\w*|please|contact|before|because)",
    re.IGNORECASE,
)
_PASSPORT_WORDS = r"护照|passport"
_PERMIT_WORDS = r"通行证|回乡证|台胞证|港澳证|来往内地|往来台湾|往来港澳|travel[\s_]?permit|permit"
_ISLAND_WORDS = r"台湾|臺灣|身份证|身分[证證]|统一编号|居留证|香港|澳门|澳門|hkid|twid|national[\s_]?id|id[\s_]?card"
_BIRTH_WORDS = r"出生|生日|生辰|生于|诞辰|(?<![A-Za-z])dob|birth|(?<![A-Za-z])born"
_SAID = r"密码|口令|密碼|passwd|password|passphrase|passcode|(?<![A-Za-z])(?:pwd|psw|pass)(?![A-Za-z])"
_PLACE_WORDS = r"坐标|经纬度|经纬|定位|位置|(?<![A-Za-z])(?:gps|coord\w{0,8}|lnglat|latlng|location|lat[_/,]lng)"

_YEAR = r"(?:19|20)[0-9]{2}"
_MONTHS = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)[a-z]{0,6}"
_DATE = (
    rf"(?:{_YEAR}年\s?[0-9]{{1,2}}月(?:\s?[0-9]{{1,2}}[日号]?)?|{_YEAR}[-/.][0-9]{{1,2}}[-/.][0-9]{{1,2}}(?![0-9])|{_YEAR}[01][0-9][0-3][0-9](?![0-9])"
    rf"|{_YEAR}[-/.][01]?[0-9](?![0-9./-])|[0-3]?[0-9][-/.][0-3]?[0-9][-/.]{_YEAR}(?![0-9])|{_MONTHS}\.? [0-3]?[0-9](?:st|nd|rd|th)?,? {_YEAR}|[0-3]?[0-9] {_MONTHS}\.?,? {_YEAR}"
    r"|[一二][九〇零○][一二三四五六七八九〇零○]{2}年[一二三四五六七八九十]{1,2}月[一二三四五六七八九十廿卅]{1,3}[日号])"
)
_D = r"-?[0-9]{1,3}\.[0-9]{3,12}"
_DMS = r"[NSEW]?\s?[0-9]{1,3}\s?[°度]\s?[0-9]{1,2}\s?[′'’分]\s?(?:[0-9]{1,2}(?:\.[0-9]{1,6})?\s?(?:[″\"”秒]|''|′′)\s?)?[NSEWnsew北南东西]?"


def _qq(match: re.Match[str], _: Around) -> Found | None:
    value = match["v"]
    if len(value) == 11 and value[0] == "1" and value[1] != "0":  # noqa: PLR2004 - a mobile number, or what stands for one
        return None
    return (
        None
        if re.search(r"音乐|空间|邮箱|浏览|会员|用户|飞车|炫舞|游戏|手游|等级|年", match["g"])
        else Found(*match.span("v"), SPOKEN, 0.9)
    )


def _wechat(match: re.Match[str], _: Around) -> Found | None:
    value, between = match["v"], match["g"]
    if is_placeholder(value) or _WECHAT_STOP.fullmatch(value):
        return None
    plain = value.isalpha() and not re.search(r"[号:：是为=]|id", between, re.IGNORECASE)
    return None if plain else Found(*match.span("v"), SPOKEN, 0.85 if value.isalpha() else 0.9)


def _birth(match: re.Match[str], _: Around) -> Found | None:
    value = match["v"] if match["v"] is not None else match["w"]
    parts = re.findall(r"[0-9]+", value)
    if len(parts) == 1 and len(parts[0]) == 8:  # noqa: PLR2004 - 19900131
        parts = [parts[0][:4], parts[0][4:6], parts[0][6:]]
    if len(parts) == 3 and len(parts[0]) == 4 and not checks.is_date(*parts):  # noqa: PLR2004 - year, month, day
        return None
    return Found(*match.span("v" if match["v"] is not None else "w"), SPOKEN, 0.9)


_CODE_WORDS = re.compile(
    r"string|str|none|null|true|false|required|optional|input|hidden|text|passw(?:or)?d|hash|field|env|secret|bytes|varchar|char|int|value"
    r"|undefined|empty|reset|change|forgot|login|username|admin_password|getpass|prompt|length|error|incorrect|invalid",
    re.IGNORECASE,
)


def _password(match: re.Match[str], _: Around) -> Found | None:
    value = (match["v"] or "").rstrip(".:!?") if not re.search(r"[0-9]", match["v"] or "") else match["v"].rstrip(".:?")
    start = match.start("v")
    if len(value) < 4 or is_placeholder(value) or _CODE_WORDS.fullmatch(value) or value[0] in "$%<{[(*":  # noqa: PLR2004 - shorter is none
        return None
    if not match["g"].strip() and not (re.search(r"密码|口令|密碼", match["k"]) and re.search(r"[A-Za-z].*[0-9]|[0-9].*[A-Za-z]", value)):
        return None  # nothing says that it is the password's value
    if re.fullmatch(r"[A-Za-z_]+(?:\.[A-Za-z_]+)+|[A-Za-z_.]+\(.*|[a-z]+_[a-z_]+|[/*.#=-]+", value):
        return None  # code, not a value
    if value.isalpha() and (value.islower() or value.isupper() or value.istitle()) and not re.search(r"[:：=是为]", match["g"]):
        return None
    if (
        value.isalpha()
        and value.islower()
        and not re.search(r"密码|口令|密碼", match["k"])
        and '"' not in match["g"]
        and "'" not in match["g"]
    ):
        return None
    return Found(start, start + len(value), SPOKEN, 0.85)


def _island_id(match: re.Match[str], _: Around) -> Found | None:
    value = letters_and_digits(match["v"])
    taiwan = len(value) == 10 and value[1] in "1289ABCD" and value[1:].isdigit() and checks.is_taiwan_id(value)  # noqa: PLR2004
    macau = len(value) == 8 and value[0] in "157" and value.isdigit() and re.search(r"澳[门門]", match["k"] + match["g"])  # noqa: PLR2004
    hong_kong = value[0].isalpha() and len(value) in {8, 9} and value[-7:-1].isdigit() and checks.is_hong_kong_id(value)
    return Found(*match.span("v"), CHECKED, 0.92) if taiwan or macau or hong_kong else None


def _position(match: re.Match[str], _: Around) -> Found | None:
    numbers = [float(each) for each in re.findall(r"-?[0-9]{1,3}(?:\.[0-9]+)?", match["v"])]
    if len(numbers) < 2 or not (abs(numbers[0]) <= 180 and abs(numbers[1]) <= 180 and min(map(abs, numbers[:2])) <= 90):  # noqa: PLR2004
        return None
    return Found(*match.span("v"), SPOKEN, 0.9)


def _coordinate(match: re.Match[str], _: Around) -> Found | None:
    return Found(*match.span("v"), SPOKEN, 0.85) if abs(float(match["v"])) <= 180 else None  # noqa: PLR2004 - degrees


def _imei(match: re.Match[str], _: Around) -> Found | None:
    value = digits(match["v"])
    return Found(*match.span("v"), CHECKED, 0.95) if len(value) == 15 and checks.is_imei(value) else None  # noqa: PLR2004


def _vin(match: re.Match[str], _: Around) -> Found | None:
    return Found(*match.span("v"), CHECKED, 0.95) if checks.is_vin(match["v"].upper()) else None


CONTEXTUAL: tuple[Rule, ...] = (
    Rule(
        id="qq",
        type="QQ",
        pattern=re.compile(rf"(?:{_QQ_WORDS}){_LABEL}(?P<g>{_BETWEEN})(?P<v>[1-9][0-9]{{4,10}})(?![0-9A-Za-z*])(?!\.[0-9])", re.IGNORECASE),
        judge=_qq,
        anchors=(
            Anchor(
                rb"(?:qq|q q|q(?::|\xef\xbc\x9a|\xe5\x8f\xb7|\xe7\xbe\xa4)|\xe6\x89\xa3\xe6\x89\xa3|\xe8\x94\xbb\xe8\x94\xbb|\xe4\xbc\x81\xe9\xb9\x85|\xe7\xa7\x8b\xe7\xa7\x8b|\xe7\x90\x83\xe7\x90\x83)"
                + _LABEL_BYTES
                + _BETWEEN_BYTES
                + rb"[1-9][0-9]{4}",
                72,
                caseless=True,
            ),
        ),
        spoken=True,
    ),
    Rule(
        id="wechat",
        type="WECHAT",
        pattern=re.compile(
            rf"(?:{_WECHAT_WORDS})(?P<g>{_LABEL}{_BETWEEN}){_NOT_OURS}(?P<v>[A-Za-z][0-9A-Za-z_-]{{5,19}})(?![0-9A-Za-z@＠*_-])(?!\.[A-Za-z])(?!\[at)",
            re.IGNORECASE,
        ),
        judge=_wechat,
        anchors=(
            Anchor(
                rb"(?:"
                + _bytes("微信|薇信|威信|徽信|微❤|薇❤|卫星号|v信|v：|加v|＋v|[+]v|vx|wx|v❤|weixin|wechat")
                + rb")"
                + _LABEL_BYTES
                + _BETWEEN_BYTES
                + rb"[a-z][0-9a-z_-]{5}",
                72,
                caseless=True,
            ),
        ),
        spoken=True,
    ),
    Rule(
        id="wxid",
        type="WECHAT",
        pattern=re.compile(r"(?<![0-9A-Za-z_])wxid_[0-9a-z]{8,24}(?![0-9A-Za-z_])"),
        judge=shaped(0.97, CHECKED),
        anchors=(Anchor(rb"wxid_[0-9a-z]{8}", 16),),
    ),
    Rule(
        id="cn_passport",
        type="CN_PASSPORT",
        pattern=re.compile(
            rf"(?:{_PASSPORT_WORDS}){_LABEL}{_BETWEEN}{_NOT_OURS}(?P<v>[A-Z][A-Z]?[0-9]{{7,8}}|[A-Z][0-9]{{6,8}}[A-Z]?|[0-9]{{9}}){END}",
            re.IGNORECASE,
        ),
        judge=shaped(0.9, SPOKEN),
        anchors=(
            Anchor(
                rb"(?:\xe6\x8a\xa4\xe7\x85\xa7|passport)" + _LABEL_BYTES + _BETWEEN_BYTES + rb"[a-z0-9][a-z0-9][0-9]{5}",
                80,
                caseless=True,
            ),
        ),
        spoken=True,
    ),
    Rule(
        id="cn_travel_permit",
        type="CN_TRAVEL_PERMIT",
        pattern=re.compile(
            rf"(?:{_PERMIT_WORDS}){_LABEL}{_BETWEEN}{_NOT_OURS}(?P<v>[HMCLWT][A-Z]?[0-9]{{7,10}}|[0-9]{{8}}(?:[0-9]{{2}})?(?:\([0-9A-Z]{{1,2}}\))?){END}",
            re.IGNORECASE,
        ),
        judge=shaped(0.9, SPOKEN),
        anchors=(
            Anchor(
                rb"(?:"
                + _bytes("通行证|回乡证|台胞证|港澳证|来往内地|往来台湾|往来港澳")
                + rb"|permit)"
                + _LABEL_BYTES
                + _BETWEEN_BYTES
                + rb"[a-z0-9][a-z0-9][0-9]{6}",
                80,
                caseless=True,
            ),
        ),
        spoken=True,
    ),
    Rule(
        id="island_id",
        type="HMT_ID",
        pattern=re.compile(
            rf"(?P<k>{_ISLAND_WORDS})(?P<g>{_LABEL}{_BETWEEN})(?P<v>[A-Z][1289ABCD][0-9]{{8}}|[A-Z]{{1,2}}[0-9]{{6}}\(?[0-9A]\)?|[157]/?[0-9]{{6}}[/(]?[0-9]\)?){END}",
            re.IGNORECASE,
        ),
        judge=_island_id,
        anchors=(
            Anchor(
                rb"(?:"
                + _bytes("台湾|臺灣|身份证|身分证|身分證|统一编号|居留证|香港|澳门|澳門")
                + rb"|hkid|twid|national[ _]?id|id[ _]?card)"
                + _LABEL_BYTES
                + _BETWEEN_BYTES
                + rb"(?:[a-z][a-d1-9][0-9]{5}|[a-z][0-9]{6})",
                90,
                caseless=True,
            ),
            Anchor(rb"(?:" + _bytes("澳门|澳門") + rb")" + _BETWEEN_BYTES + rb"[157]/?[0-9]{6}", 90),
        ),
        spoken=True,
    ),
    Rule(
        id="birth",
        type="DATE_OF_BIRTH",
        pattern=re.compile(
            rf"(?:{_BIRTH_WORDS})(?:年月日|日期|年月|时间|于|day|date|[\s_-]?date|(?: on| in| is))?{_LABEL}{_BETWEEN}(?P<v>{_DATE})"
            rf"|(?<![0-9])(?P<w>{_DATE})\s?(?:出生|生人|诞生|生(?=[，。,；;\s）)、于]|$)|\(?born)",
            re.IGNORECASE,
        ),
        judge=_birth,
        anchors=(
            Anchor(
                rb"(?:"
                + _bytes("出生|生日|生辰|生于|诞辰")
                + rb"|dob|birth|born)(?:[ _-]?(?:day|date|on|in|is|of))?"
                + _LABEL_BYTES
                + _BETWEEN_BYTES
                + rb"(?:(?:19|20)[0-9]{2}|[0-3]?[0-9][-/. ]|[jfmasond][a-z]{2}|\xe4\xb8\x80\xe4\xb9\x9d|\xe4\xba\x8c)",
                96,
                caseless=True,
            ),
            Anchor(
                rb"(?:[0-9]|\xe6\x97\xa5|\xe5\x8f\xb7|\xe6\x9c\x88) ?(?:\xe5\x87\xba\xe7\x94\x9f|\xe7\x94\x9f|\xe8\xaf\x9e\xe7\x94\x9f|[(]?born)",
                64,
            ),
        ),
        spoken=True,
    ),
    Rule(
        id="password",
        type="PASSWORD",
        pattern=re.compile(
            rf"(?P<k>{_SAID})(?P<g>[\"'\]]?\s{{0,2}}(?:是|为|设为|改为|改成|重置为|[:：=]|=>|:=|is|\s){{0,2}}\s{{0,2}}[\"'“「【`]?){_NOT_OURS}"
            r"(?P<v>[!#-&(+\--:=-Z^-{}~|@/]{4,64})",
            re.IGNORECASE,
        ),
        judge=_password,
        reach=160,
        anchors=(
            Anchor(
                rb"(?:\xe5\xaf\x86\xe7\xa0\x81|\xe5\x8f\xa3\xe4\xbb\xa4|\xe5\xaf\x86\xe7\xa2\xbc|passwd|password|passphrase|passcode|pwd|psw|[^a-z]pass)[\"'\]]?"
                + _SPACE_BYTES
                + rb"{0,2}(?:"
                + _bytes("是|为|设为|改为|改成|重置为|：|＝")
                + rb"|[:=]|=>|is|"
                + _SPACE_BYTES
                + rb"){0,2}"
                + _SPACE_BYTES
                + rb"{0,2}(?:[\"'`]|"
                + _bytes("“|「|【")
                + rb")?[!-~]{4}",
                64,
                caseless=True,
            ),
        ),
        spoken=True,
    ),
    Rule(
        id="password_option",
        type="PASSWORD",
        pattern=re.compile(
            r"(?P<k>mysql\w{0,8}|sshpass|redis-cli|mongo\w{0,4})(?P<g>[^\n\0|;]{0,60}?\s(?:-p ?|-a )['\"]?)(?P<v>[0-9A-Za-z!@#%^&*_+=.~-]{4,64})"
        ),
        judge=_password,
        reach=160,
        anchors=(Anchor(rb"(?:mysql|sshpass|redis-cli|mongo)", 16),),
    ),
    Rule(
        id="position",
        type="GPS",
        pattern=re.compile(
            rf"(?:{_PLACE_WORDS})[^0-9\n\0，。；;<]{{0,12}}(?P<v>[(\[（]?{_D}°?\s?[,，;/、 ]\s?{_D}°?)(?![0-9A-Za-z:])", re.IGNORECASE
        ),
        judge=_position,
        anchors=(
            Anchor(
                rb"(?:"
                + _bytes("坐标|经纬|定位|位置")
                + rb"|gps|coord|lnglat|latlng|location|lat[_/,]lng)[^0-9\n\x00;<]{0,36}-?[0-9]{1,3}\.[0-9]{3}",
                80,
                caseless=True,
            ),
        ),
        spoken=True,
    ),
    Rule(
        id="position_named",
        type="GPS",
        pattern=re.compile(
            rf"(?P<v>(?:[北南]纬|[东西]经)\s?[:：]?\s?[0-9]{{1,3}}(?:\.[0-9]{{2,12}})[°度]?\s?[，,、;；和 ]{{0,2}}\s?(?:[北南]纬|[东西]经)\s?[:：]?\s?[0-9]{{1,3}}\.[0-9]{{2,12}}[°度]?)"
            rf"|(?<![0-9.])(?P<w>(?:[北南]纬|[东西]经)?{_DMS}[，,、;；\s]{{0,3}}(?:[北南]纬|[东西]经)?{_DMS})"
        ),
        reach=140,
        judge=lambda match, _: Found(*match.span(match.lastgroup or 0), CHECKED, 0.95),
        anchors=(
            Anchor(rb"(?:" + _bytes("北纬|南纬|东经|西经") + rb") ?(?::|\xef\xbc\x9a)? ?[0-9]{1,3}\.[0-9]", 16),
            Anchor(rb"[0-9] ?(?:\xc2\xb0|\xe5\xba\xa6) ?[0-9]{1,2} ?(?:\xe2\x80\xb2|'|\xe2\x80\x99|\xe5\x88\x86)", 32),
        ),
    ),
    Rule(
        id="coordinate",
        type="GPS",
        pattern=re.compile(
            rf"(?:纬度|经度|[北南]纬|[东西]经|(?<![A-Za-z])(?:lat|lng|lon|latitude|longitude))[\"'\]]{{0,2}}\s?[:：=为是]{{0,2}}\s?[\"']?(?P<v>{_D})(?![0-9A-Za-z:])",
            re.IGNORECASE,
        ),
        judge=_coordinate,
        anchors=(
            Anchor(
                rb"(?:"
                + _bytes("纬度|经度|纬|经")
                + rb"|lat|lng|lon|latitude|longitude)[\"'\]]{0,2} ?(?::|=|"
                + _bytes("：|＝|为|是")
                + rb"){0,2} ?[\"']?-?[0-9]{1,3}\.[0-9]{3}",
                48,
                caseless=True,
            ),
        ),
        spoken=True,
    ),
    Rule(
        id="imei",
        type="IMEI",
        pattern=re.compile(rf"(?:imei|meid|串号){_LABEL}[0-9]?{_BETWEEN}(?P<v>[0-9]{{2}}(?:[ -]?[0-9]){{13}}){END}", re.IGNORECASE),
        judge=_imei,
        anchors=(
            Anchor(
                rb"(?:imei|meid|\xe4\xb8\xb2\xe5\x8f\xb7)" + _LABEL_BYTES + rb"[0-9]?" + _BETWEEN_BYTES + rb"[0-9]{2}",
                72,
                caseless=True,
            ),
        ),
        spoken=True,
    ),
    Rule(
        id="vin",
        type="VIN",
        pattern=re.compile(rf"(?:(?<![A-Za-z])vin|车架号|车辆识别){_LABEL}{_BETWEEN}(?P<v>[A-HJ-NPR-Z0-9]{{17}}){END}", re.IGNORECASE),
        judge=_vin,
        anchors=(
            Anchor(
                rb"(?:vin|\xe8\xbd\xa6\xe6\x9e\xb6\xe5\x8f\xb7|\xe8\xbd\xa6\xe8\xbe\x86\xe8\xaf\x86\xe5\x88\xab)"
                + _LABEL_BYTES
                + _BETWEEN_BYTES
                + rb"[a-z0-9]{10}",
                72,
                caseless=True,
            ),
        ),
        spoken=True,
    ),
)
