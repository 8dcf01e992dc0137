"""What makes a number somebody's number: checksums, dates that exist, number plans. All take the bare value: upper case, no separators."""

import re
from datetime import date
from operator import mul

MOBILE = re.compile(r"1(?:3[0-9]|4[014-9]|5[0-35-9]|6[2567]|7[0-8]|8[0-9]|9[0-35-9])[0-9]{8}")
"""Every segment that was given out, those of data cards and things included."""

_RESIDENT_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_PROVINCE = re.compile(r"1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]|9[1-9]")
"""Provinces by GB/T 2260; 81 to 83 are residence permits of Hong Kong, Macau and Taiwan, 9 is the card of foreign permanent residents."""

_USCC_DIGITS = {each: value for value, each in enumerate("0123456789ABCDEFGHJKLMNPQRTUWXY")}
_USCC = re.compile("[0-9A-HJ-NPQRTUWXY]{18}")
_USCC_WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
_ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)

_DOUBLED = str.maketrans("0123456789", "0246813579")

_TWO_DIGIT_AREAS = frozenset({"10", *(f"2{digit}" for digit in "012345789")})
_THREE_DIGIT_AREA = re.compile(
    r"31[0-9]|335|349|35[0-9]|37[0-9]|39[1-8]|41[0-9]|42[179]|43[1-9]|45[1-9]|46[4789]|47[0-9]|48[23]|51[0-9]|52[37]|53[0-9]|54[36]"
    r"|55[0-9]|56[1-6]|57[0-9]|580|59[1-9]|63[1-5]|66[0-3]|668|69[12]|701|71[0-9]|72[248]|73[0-9]|74[3-6]|75[0-9]|76[0-9]|77[0-9]"
    r"|79[0-9]|81[23678]|82[5-7]|83[0-9]|85[1-9]|87[0-9]|88[36-8]|89[1-8]|90[1-9]|91[1-79]|93[0-9]|94[13]|95[1-5]|97[0-9]|99[0-9]"
)
"""Area codes behind the zero, by the national numbering plan."""


def is_date(year: str, month: str, day: str) -> bool:
    """Whether this day exists and somebody alive may have been born on it."""
    try:
        return date(1900, 12, 31) < date(int(year), int(month), int(day)) <= date.today()  # noqa: DTZ011 - a day, whatever the zone
    except ValueError:
        return False


def resident_id_digit(first17: str) -> str:
    """Return the check character of a resident id (GB 11643, MOD 11-2)."""
    return "10X98765432"[sum(map(mul, map(int, first17), _RESIDENT_WEIGHTS)) % 11]


def is_resident_id(value: str) -> bool:
    """Whether 18 characters are a resident id: province, a real date, the check character."""
    # The checksum comes last: it costs most, and most numbers of this length have no date in them.
    return (
        _PROVINCE.match(value) is not None
        and is_date(value[6:10], value[10:12], value[12:14])
        and resident_id_digit(value[:17]) == value[17]
    )


def is_old_resident_id(value: str) -> bool:
    """Whether 15 digits are shaped like a resident id of before 1999: province and a real date; there was no checksum."""
    return _PROVINCE.match(value) is not None and is_date("19" + value[6:8], value[8:10], value[10:12])


def luhn_digit(body: str) -> str:
    """Return the digit that makes a card number of these digits."""
    return str(-sum(map(int, body[::-2].translate(_DOUBLED) + body[-2::-2])) % 10)


def is_card(value: str, *, said: bool) -> bool:
    """Whether digits are a bank card: issuer, the issuer's length, Luhn. `said`: words beside it say that it is one."""
    return _issuer_fits(value, said=said) and luhn_digit(value[:-1]) == value[-1]


_SIXTEEN = ("4", "51", "52", "53", "54", "55", "62", "60", "65", "81", "35", "9558", "9559", "9555", "9400")
_MASTERCARD = range(2221, 2721)
_SEVENTEEN = ("6222", "6200", "6205", "6210", "6214", "6213", "6014", "4055", "6226")
"""Issuers of 17 digits (Bank of Communications and a few others), by their first four."""
_EIGHTEEN = ("622908", "622909", "622868", "622866", "966666", "90592", "438588", "438589")
"""Issuers of 18 digits; more would let order numbers and wrong resident ids through."""
_OLD_NINETEEN = ("9558", "9559", "9553", "436742", "436745", "601382", "603", "622", "621", "620", "623", "624", "625", "626")


def _issuer_fits(value: str, *, said: bool) -> bool:
    length, four = len(value), int(value[:4])
    if length == 16:  # noqa: PLR2004 - lengths of cards, here and below
        return value.startswith(_SIXTEEN) or _MASTERCARD.start <= four < _MASTERCARD.stop
    if length == 15:  # noqa: PLR2004
        return value[:2] in {"34", "37"}
    if length == 17:  # noqa: PLR2004
        return value.startswith(_SEVENTEEN) or (said and value[:2] == "62")
    if length == 18:  # noqa: PLR2004
        return value.startswith(_EIGHTEEN) or (said and value[:2] == "62")
    return length == 19 and (value[:2] in {"62", "81"} or value.startswith(_OLD_NINETEEN))  # noqa: PLR2004


def organisation_digit(first8: str) -> str:
    """Return the check character of an organisation code (GB 11714)."""
    rest = 11 - sum(int(each, 36) * weight for each, weight in zip(first8, _ORGANISATION_WEIGHTS, strict=True)) % 11
    return {10: "X", 11: "0"}.get(rest, str(rest))


def credit_code_digit(first17: str) -> str:
    """Return the check character of a unified social credit code (GB 32100)."""
    total = sum(map(mul, map(_USCC_DIGITS.__getitem__, first17), _USCC_WEIGHTS))
    return "0123456789ABCDEFGHJKLMNPQRTUWXY"[-total % 31]


def is_credit_code(value: str) -> bool:
    """Whether 18 characters are a unified social credit code: both its check characters."""
    return (
        value[0] in "1234569AEFGJNY"
        and _USCC.fullmatch(value) is not None
        and organisation_digit(value[8:16]) == value[16]
        and credit_code_digit(value[:17]) == value[17]
    )


def is_landline(number: str) -> bool:
    """Whether digits without the leading zero are an area code and a subscriber's number of the right length there."""
    if number[:2] in _TWO_DIGIT_AREAS:
        return len(number) == 10 and number[2] in "23456789"  # noqa: PLR2004 - two and eight digits
    return bool(_THREE_DIGIT_AREA.match(number)) and len(number) in {10, 11} and number[3] in "23456789"


def is_hong_kong_id(value: str) -> bool:
    """Whether a letter or two, six digits and a check character are a Hong Kong identity card."""
    letters = value[:-7].rjust(2)
    total = sum((36 if each == " " else ord(each) - 55) * weight for each, weight in zip(letters, (9, 8), strict=True))
    total += sum(int(each) * weight for each, weight in zip(value[-7:-1], (7, 6, 5, 4, 3, 2), strict=True))
    return "0123456789A"[-total % 11] == value[-1]


_TAIWAN = {letter: value for value, letter in enumerate("ABCDEFGHJKLMNPQRSTUVXYWZIO", 10)}


def is_taiwan_id(value: str) -> bool:
    """Whether a letter and nine digits are a Taiwan identity card or residence permit."""
    first = _TAIWAN[value[0]]
    total = first // 10 + first % 10 * 9 + sum(int(each) * weight for each, weight in zip(value[1:9], range(8, 0, -1), strict=True))
    return str(-total % 10) == value[9]


def is_imei(value: str) -> bool:
    """Whether 15 digits are the number of a mobile device."""
    return value[:2] != "00" and luhn_digit(value[:14]) == value[14]


_VIN = {**{str(n): n for n in range(10)}, **dict(zip("ABCDEFGH", range(1, 9), strict=True))} | {
    **dict(zip("JKLMN", range(1, 6), strict=True)),
    "P": 7,
    "R": 9,
    **dict(zip("STUVWXYZ", range(2, 10), strict=True)),
}
_VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)


def is_vin(value: str) -> bool:
    """Whether 17 characters are a vehicle identification number with the check digit that China requires."""
    if not all(each in _VIN for each in value):
        return False
    return "0123456789X"[sum(_VIN[each] * weight for each, weight in zip(value, _VIN_WEIGHTS, strict=True)) % 11] == value[8]
