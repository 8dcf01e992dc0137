"""Detectors whose shape and checksum suffice: telephones, identity cards, bank cards, credit codes, plates."""

import re
from functools import lru_cache

from domain.deid import checks, words
from domain.deid.rule import CHECKED, END, GAP, SHAPED, SPOKEN, START, Anchor, Around, Found, Rule, shaped
from domain.deid.text import HANZI_DIGITS, digits, letters_and_digits

_GROUPED = frozenset({(3, 4, 4), (3, 8), (7, 4), (3, 3, 5), (4, 4, 3), (4, 3, 4), (5, 6), (5, 3, 3), (1,) * 11})
"""Group lengths in which people write a mobile number."""
_GROUPS = re.compile(r"[0-9]+")
_BETWEEN = re.compile(r"(?<=[0-9])[^0-9]+(?=[0-9])")
_SEP = rf"(?: - |{GAP})?"
_COUNTRY = r"(?:\((?:\+|00)?86\)|(?:\+|00)86|86(?=[- ]))"
_PREFIX = rf"(?:{_COUNTRY}{GAP}{{0,2}})?"
_NUMERALS = "".join(HANZI_DIGITS)


def _mobile(match: re.Match[str], around: Around) -> Found | None:
    start, end = match.span("v")
    value = match["v"]
    if len(value) > MOBILE_DIGITS and not _grouped(match, value, around):
        return None
    if not checks.MOBILE.fullmatch(digits(value)):
        return None
    said = words.number_beside(around.before(match.start()), around.after(end))
    prefixed = match.start() < start
    if said == words.VETOED and not prefixed:
        return None
    telling = said == words.TELLING or prefixed
    return Found(match.start(), end, SPOKEN if telling else SHAPED, 0.95 if telling else 0.85)


MOBILE_DIGITS = 11
_ANY_DIGIT = str.maketrans("123456789", "0" * 9)
_NO_WORD = "0123456789-. "


def _grouped(match: re.Match[str], value: str, around: Around) -> bool:
    """Whether the separators of a number are those of a telephone, and the number is no part of a longer list."""
    gaps = _gaps(value.translate(_ANY_DIGIT))
    if gaps is None:
        return False
    if match.start() < match.start("v"):  # the country's prefix says where it begins
        return True
    first, last = gaps
    before = around.before(match.start())
    if not _listed(before, first) and not 0 < _next_group(around.after(match.end()), last) < LONGEST_GROUP:
        return True
    return before.strip(_NO_WORD) != "" and words.number_beside(before, "") == words.TELLING


LONGEST_GROUP = 9
"""No group of a list has as many digits, but numbers that somebody has."""


@lru_cache(maxsize=1024)
def _gaps(shape: str) -> tuple[str, str] | None:
    """Return the first and the last separator of a number whose groups are those of a telephone; None if they are not."""
    gaps = _BETWEEN.findall(shape)
    groups = tuple(map(len, _GROUPS.findall(shape)))
    if groups not in _GROUPED or ("." in gaps and groups != (3, 4, 4)) or (len(groups) == MOBILE_DIGITS and len(set(gaps)) > 1):
        return None
    return gaps[0], gaps[-1]


_NEXT_GROUP = re.compile(r"(?!0[1-9][0-9]{1,2}[- ][2-9])([0-9]+)(?![0-9A-Za-z年元])(?:([-./:,])[0-9])?")
_NO_GROUP = re.compile(r"(?:[0-9]{9}|[0-9][-/:][0-9]+|[A-Za-z][0-9]+)$")
"""The end of what is no group of a list: a number as long as one that somebody has, a date, a time, a number with other separators."""


def _next_group(after: str, gap: str) -> int:
    """Return how many digits the group of the same list has that follows a number in groups; 0 where what follows is a value of its own."""
    if not after.startswith(gap) or (match := _NEXT_GROUP.match(after, len(gap))) is None:
        return 0
    return len(match[1]) if match[2] in {None, gap} else 0


def _listed(before: str, gap: str) -> bool:
    """Whether another group of a list stands before a number in groups."""
    if gap != " ":
        return before.endswith(gap) and before[-len(gap) - 1 : -len(gap)].isdigit()
    before = before.rstrip(" ")
    return before[-1:].isdigit() and _NO_GROUP.search(before) is None


def _hanzi_mobile(match: re.Match[str], _: Around) -> Found | None:
    value = match["v"]
    read_out = any(each in HANZI_DIGITS for each in value)  # plain digits are the business of another rule
    return Found(*match.span("v"), CHECKED, 0.95) if read_out and checks.MOBILE.fullmatch(digits(value)) else None


def _landline(match: re.Match[str], around: Around) -> Found | None:
    start, end = match.span("v")
    bare = digits(match["v"])
    if not (bare[0] == "0" or match.start() < start) or not checks.is_landline(bare.removeprefix("0")):
        return None
    said = words.number_beside(around.before(match.start()), around.after(match.end()))
    separated = len(bare) < end - start or match.start() < start
    if said == words.VETOED or not (separated or said == words.TELLING):
        return None
    return Found(match.start(), match.end(), SPOKEN if said == words.TELLING else SHAPED, 0.95 if said == words.TELLING else 0.85)


def _resident_id(match: re.Match[str], _: Around) -> Found | None:
    return Found(*match.span(), CHECKED, 0.99) if checks.is_resident_id(letters_and_digits(match[0])) else None


def _old_resident_id(match: re.Match[str], around: Around) -> Found | None:
    if not checks.is_old_resident_id(match[0]) or not words.says_identity(around.before(match.start())):
        return None
    return Found(*match.span(), SPOKEN, 0.9)


def _card(match: re.Match[str], around: Around) -> Found | None:
    start, end = match.span()
    value = match[0]
    found = _card_until(start, end, value, around)
    if found is None and (cut := _LAST_GROUP.search(value, len(value) - 6)) is not None:  # what follows may be a number of its own
        found = _card_until(start, start + cut.start(), value[: cut.start()], around)
    return found


CARD_DIGITS = range(15, 20)
QUARTET = 4
"""Digits of a group, as most cards show them."""
OTHER_CARD_GROUPS = ([4, 6, 5], [6, 13], [6, 10], [8, 8], [6, 4, 4, 5])
_LAST_GROUP = re.compile(r"[^0-9]+[0-9]{1,3}$")


def _card_until(start: int, end: int, value: str, around: Around) -> Found | None:
    gap = _card_gap(value.translate(_ANY_DIGIT))
    if gap is None or not checks.is_card(bare := digits(value), said=True):
        return None
    before = around.before(start)
    if before.strip(_NO_WORD) != "" and words.says_card(before):
        return Found(start, end, CHECKED, 0.98)
    longer = gap != "" and _next_group(around.after(end), gap) == QUARTET
    return Found(start, end, CHECKED, 0.9) if not longer and checks.is_card(bare, said=False) else None


@lru_cache(maxsize=1024)
def _card_gap(shape: str) -> str | None:
    """Return the first separator of a number in groups as those of a card, "" if it is in one; None if it is none."""
    groups = [len(each) for each in _GROUPS.findall(shape)]
    in_fours = len(groups) == 1 or all(each == QUARTET for each in groups[:-1])
    if sum(groups) not in CARD_DIGITS or not (in_fours or groups in OTHER_CARD_GROUPS):
        return None
    gap = _BETWEEN.search(shape)
    return gap[0] if gap is not None else ""


def _credit_code(match: re.Match[str], _: Around) -> Found | None:
    return Found(*match.span(), CHECKED, 0.99) if checks.is_credit_code(letters_and_digits(match[0])) else None


_PLATE_BODY = re.compile(
    r"[DFABCEGHJK][A-HJ-NP-Z0-9][0-9]{4}|[0-9]{5}[DFABCEGHJK]|[A-HJ-NP-Z0-9]{5}|[A-HJ-NP-Z0-9]{4}[警学挂港澳领试超使应急]{1,2}"
)


def _plate(match: re.Match[str], _: Around) -> Found | None:
    body = match["b"].upper()
    if not _PLATE_BODY.fullmatch(body) or sum(each.isdigit() for each in body) < 2:  # noqa: PLR2004 - fewer are words
        return None
    return Found(*match.span(), CHECKED, 0.95)


def _hong_kong_id(match: re.Match[str], _: Around) -> Found | None:
    value = letters_and_digits(match[0])
    if not checks.is_hong_kong_id(value):
        return None
    return Found(*match.span(), CHECKED, 0.9)


_P = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤川青藏琼宁"
_P_BYTES = b"(?:" + b"|".join(each.encode() for each in _P) + b")"
_H_BYTES = b"(?:" + b"|".join(each.encode() for each in _NUMERALS) + b")"

STRUCTURAL: tuple[Rule, ...] = (
    Rule(
        id="cn_mobile",
        type="CN_MOBILE",
        pattern=re.compile(
            rf"(?:(?<![0-9A-Za-z])|(?<=[Tt][Ee][Ll])|(?<=[Pp]hone)|(?<=[Mm]obile))(?<![0-9]\.)(?<![0-9]-){_PREFIX}"
            rf"(?P<v>\(1[3-9][0-9]\)[- ]?[0-9]{{4}}[- ]?[0-9]{{4}}|1{_SEP}[3-9]{_SEP}[0-9](?:{_SEP}[0-9]){{8}})(?![0-9A-Za-z])(?!\.[0-9])"
        ),
        judge=_mobile,
        anchors=(
            Anchor(rb"[^0-9A-Za-z]1[3-9][0-9]{9}[^0-9A-Za-z]", 24),
            Anchor(rb"(?:tel|phone|mobile)1[3-9][0-9]{9}[^0-9A-Za-z]", 28, caseless=True),
            Anchor(rb"(?:[(]|\xef\xbc\x88)1[3-9][0-9](?:[)]|\xef\xbc\x89)[- ]?[0-9]{4}", 28),
            Anchor(rb"86[)]?1[3-9][0-9]{9}[^0-9A-Za-z]", 28),
            Anchor(rb"1[3-9][0-9][-. ][0-9]{4}[-. ]?[0-9]{4}[^0-9]", 28),
            Anchor(rb"1[3-9][0-9]{2}[0-9]?[- ][0-9]{3,4}[- ]?[0-9]{2}", 28),
            Anchor(rb"1[3-9][0-9]{5}[-. ][0-9]{4}[^0-9]", 28),
            Anchor(rb"1[3-9][0-9][- ][0-9]{3}[- ][0-9]{5}[^0-9]", 28),
            Anchor(rb"1[3-9][0-9] - [0-9]{4}(?:[- ]| - )?[0-9]{4}[^0-9]", 32),
            Anchor(rb"1([- .])[3-9][- .][0-9][- .][0-9][- .][0-9][- .]", 24),
        ),
    ),
    Rule(
        id="cn_mobile_hanzi",
        type="CN_MOBILE",
        pattern=re.compile(
            rf"(?<![{_NUMERALS}0-9])(?P<v>[一幺壹1][-, 、，]?[{_NUMERALS}0-9](?:[-, 、，]?[{_NUMERALS}0-9]){{9}})(?![{_NUMERALS}0-9])"
        ),
        judge=_hanzi_mobile,
        anchors=(
            Anchor(_H_BYTES + rb"{3}", 48),
            Anchor(
                _H_BYTES
                + rb"(?:[-, ]|\xe3\x80\x81|\xef\xbc\x8c)"
                + _H_BYTES
                + rb"(?:[-, ]|\xe3\x80\x81|\xef\xbc\x8c)"
                + _H_BYTES
                + rb"[-, \xe3\xef]",
                48,
            ),
        ),
    ),
    Rule(
        id="cn_landline",
        type="CN_LANDLINE",
        pattern=re.compile(
            rf"(?<![0-9A-Za-z.])(?<![0-9][-/]){_PREFIX}"
            rf"(?P<v>(?:\(0?[1-9][0-9]{{1,2}}\)|0?[1-9][0-9]{{1,2}}){GAP}{{0,2}}[2-9][0-9]{{2,3}}[- .]?[0-9]{{4}})"
            r"(?:(?:转|分机|-|—|ext\.?|x|#)\s?[0-9]{1,5})?(?![0-9A-Za-z])(?![-.][0-9])"
        ),
        judge=_landline,
        anchors=(
            Anchor(rb"[^0-9A-Za-z]0[1-9][0-9]{1,2}[)]?[-. ]{0,2}[2-9][0-9]{2,3}[-. ]?[0-9]{4}[^0-9]", 24),
            Anchor(rb"86[)]?[-. ]{0,2}[(]?0?[1-9][0-9]{1,2}[)]?[-. ]{0,2}[2-9][0-9]{2,3}[-. ]?[0-9]{4}[^0-9]", 32),
            Anchor(rb"\xef\xbc\x880[1-9][0-9]{1,2}\xef\xbc\x89", 24),
        ),
    ),
    Rule(
        id="cn_resident_id",
        type="CN_RESIDENT_ID",
        pattern=re.compile(
            rf"{START}(?<![0-9]\.)[1-9][0-9]{{2}}{_SEP}[0-9]{{3}}{_SEP}[0-9]{{4}}{_SEP}[0-9]{{4}}{_SEP}[0-9]{{3}}{_SEP}[0-9Xx]{END}"
        ),
        judge=_resident_id,
        anchors=(
            Anchor(rb"[^0-9A-Za-z][1-9][0-9]{5}(?:19|20)[0-9]{2}[01][0-9][0-3][0-9]{4}[- .]?[0-9Xx]", 22),
            Anchor(rb"[1-9][0-9]{5}[- .](?:19|20)[0-9]{2}[- .]?[01][0-9][0-3][0-9][- .]?[0-9]{3}", 32),
            Anchor(rb"[1-9][0-9]{5}(?:19|20)[0-9]{2}[- .]?[01][0-9][0-3][0-9][- .][0-9]{3}", 32),
            Anchor(rb"[1-9][0-9]{5} - (?:19|20)[0-9]{2}", 24),
            Anchor(rb"[1-9][0-9]{2}[- ][0-9]{3}[- ](?:19|20)[0-9]{2}[- ]?[01][0-9]", 24),
        ),
    ),
    Rule(
        id="cn_resident_id_15",
        type="CN_RESIDENT_ID",
        pattern=re.compile(rf"{START}(?<![0-9]\.)[1-9][0-9]{{14}}(?![0-9A-Za-z])(?!\.[0-9])"),
        judge=_old_resident_id,
        anchors=(Anchor(rb"[^0-9A-Za-z][1-9][0-9]{7}[01][0-9][0-3][0-9]{4}[^0-9A-Za-z]", 18),),
    ),
    Rule(
        id="bank_card",
        type="BANK_CARD",
        pattern=re.compile(rf"{START}(?<![0-9][.-])[2-9](?:[0-9]{{14,18}}|[0-9]{{3}}(?:{_SEP}[0-9]){{11,15}})(?![0-9A-Za-z])(?!\.[0-9])"),
        judge=_card,
        anchors=(
            Anchor(rb"[0-9]{15}[^0-9A-Za-z]", 22),  # a narrower one costs the scanner a fifth of its speed
            Anchor(rb"[2-9][0-9]{3}([-. ])[0-9]{4}[-. ][0-9]{4}[-. ][0-9]{3}", 24),
            Anchor(rb"[2-9][0-9]{3} - [0-9]{4} - [0-9]{4} - [0-9]{3}", 32),
            Anchor(rb"3[47][0-9]{2}[- ][0-9]{6}[- ][0-9]{5}", 24),
            Anchor(rb"[2-9][0-9]{5}[- ][0-9]{4}[- ][0-9]{4}[- ][0-9]{5}", 28),
            Anchor(rb"[2-9][0-9]{5}[- ][0-9]{10}", 24),
            Anchor(rb"[2-9][0-9]{7}[- ][0-9]{8}", 24),
        ),
    ),
    Rule(
        id="cn_uscc",
        type="CN_USCC",
        pattern=re.compile(rf"{START}[1-9A-Ya-y][1-9A-Ya-y][0-9]{{6}}[0-9A-Za-z]{{10}}{END}"),
        judge=_credit_code,
        anchors=(Anchor(rb"[^0-9A-Za-z][1-9A-Y][1-9][0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}[^0-9A-Za-z]", 21, caseless=True),),
    ),
    Rule(
        id="cn_license_plate",
        type="CN_LICENSE_PLATE",
        pattern=re.compile(rf"[{_P}][A-HJ-NP-Za-hj-np-z][-·•・‧∙. ]?(?P<b>[A-HJ-NP-Z0-9a-hj-np-z]{{4,6}}[警学挂港澳领试超使]?){END}"),
        judge=_plate,
        anchors=(
            Anchor(
                _P_BYTES
                + rb"[A-HJ-NP-Za-hj-np-z](?:[-. ]|\xc2\xb7|\xe2\x80[\xa2\xa7]|\xe3\x83\xbb|\xe2\x88\x99)?[A-HJ-NP-Z0-9a-hj-np-z]{4}",
                16,
            ),
        ),
    ),
    Rule(
        id="cn_police_plate",
        type="CN_LICENSE_PLATE",
        pattern=re.compile(rf"{START}WJ[-·• ]?[{_P}][-·• ]?[0-9]{{4}}[0-9A-HJ-NP-Z]{END}"),
        judge=shaped(0.95, CHECKED),
        anchors=(Anchor(rb"WJ(?:[- ]|\xc2\xb7|\xe2\x80\xa2)?" + _P_BYTES + rb"(?:[- ]|\xc2\xb7|\xe2\x80\xa2)?[0-9]{4}", 16),),
    ),
    Rule(
        id="hong_kong_id",
        type="HMT_ID",
        pattern=re.compile(rf"{START}[A-Z]{{1,2}}[0-9]{{6}}\([0-9A]\)"),
        judge=_hong_kong_id,
        anchors=(Anchor(rb"[A-Z][0-9]{6}(?:[(]|\xef\xbc\x88)[0-9A]", 16),),
    ),
)
