"""Surrogates: values in the original's spelling that no real person bears.

No detector here takes one for real, so that doing it twice changes nothing.

Each is drawn from a keyed hash of the type and the bare value: one value, however it is spelt, has one surrogate under one key.
"""

import hmac
import re
from collections.abc import Callable
from datetime import date, timedelta
from ipaddress import IPv6Address

from domain.deid import checks
from domain.deid.text import digits, fold, letters_and_digits, respell

Draw = Callable[[int], int]
"""Gives the next number below a limit; the same numbers in the same order for the same value."""


def bare(type_: str, value: str) -> str:
    """Return a value without its spelling: what all its spellings have in common."""
    return _BARE.get(type_, _folded)(value)


def _folded(value: str) -> str:
    return fold(value).strip()


def _bare_mobile(value: str) -> str:
    return digits(value)[-11:]


def _bare_landline(value: str) -> str:
    return _subscriber(digits(value), value)


def _bare_resident_id(value: str) -> str:
    number = letters_and_digits(value)
    return number[:17] if len(number) == 18 else number[:6] + "19" + number[6:]  # noqa: PLR2004 - the old form lacks the century


def _bare_email(value: str) -> str:
    return re.sub(r"\s?[\[({]\s?(?:dot|DOT|点)\s?[\])}]\s?| (?:dot|DOT) ", ".", _AT.sub("@", fold(value))).lower()


def _bare_ipv6(value: str) -> str:
    return IPv6Address(fold(value)).compressed


def _bare_plate(value: str) -> str:
    return "".join(each for each in fold(value).upper() if each.isalnum())


_BARE: dict[str, Callable[[str], str]] = {
    **dict.fromkeys(("BANK_CARD", "QQ", "IMEI"), digits),
    **dict.fromkeys(("CN_USCC", "CN_PASSPORT", "CN_TRAVEL_PERMIT", "HMT_ID", "VIN", "MAC"), letters_and_digits),
    "CN_MOBILE": _bare_mobile,
    "CN_LANDLINE": _bare_landline,
    "CN_RESIDENT_ID": _bare_resident_id,
    "EMAIL": _bare_email,
    "IPV6": _bare_ipv6,
    "CN_LICENSE_PLATE": _bare_plate,
}
_AT = re.compile(r"\s?[\[({]\s?(?:at|AT|艾特|@)\s?[\])}]\s?| @ |@| (?:at|AT) ")
_EXTENSION = re.compile(r"(?:转|分机|ext\.?|x|#|-|—)\s?[0-9]{1,5}$")


def _subscriber(number: str, value: str) -> str:
    """Return area code and number, without country prefix, leading zero and extension."""
    extension = _EXTENSION.search(fold(value))
    if extension and checks.is_landline(_national(rest := digits(fold(value)[: extension.start()]))):
        number = rest
    return _national(number)


def _national(number: str) -> str:
    return re.sub(r"^(?:00)?86(?=0?[1-9][0-9]{9})", "", number).removeprefix("0")


def drawer(key: bytes, type_: str, value: str) -> Draw:
    """Return what draws numbers for this value under this key."""
    pool = int.from_bytes(hmac.digest(key, f"{type_}\0{value}".encode(), "sha512"))

    def draw(limit: int) -> int:
        nonlocal pool
        pool, number = divmod(pool, limit)
        return number

    return draw


def surrogate(key: bytes, type_: str, value: str) -> str:
    """Return the surrogate of a value in its own spelling; of a type without one, a marked placeholder."""
    draw = drawer(key, type_, bare(type_, value))
    make = _MAKERS.get(type_)
    return make(value, draw) if make else f"<{type_}:{_hex(draw, 8)}>"


def _digits_of(draw: Draw, count: int) -> str:
    return str(draw(10**count)).zfill(count)


_GROUP_STARTS = "245679"
"""No telephone, area code, country prefix or American Express card begins with these."""


def _digits_in_groups(draw: Draw, count: int) -> str:
    """Return digits that are no other value from the start of any of their groups, however they are grouped: by even numbers of digits."""
    return "".join(_GROUP_STARTS[draw(6)] if place % 2 == 0 else str(draw(10)) for place in range(count))


def _hex(draw: Draw, count: int) -> str:
    return format(draw(16**count), f"0{count}x")


def _mobile(value: str, draw: Draw) -> str:
    """12 begins no mobile number in China; the country prefix stays."""
    count = len(digits(value))
    prefix = digits(value)[: count - 11]
    return respell(value, prefix + "12" + _digits_of(draw, 9))


def _landline(value: str, draw: Draw) -> str:
    """No subscriber's number begins with 10; area code and extension stay."""
    written = digits(value)
    national = _subscriber(written, value)
    area = national[:2] if checks.is_landline(national) and national[:2] in {"10", *map(str, range(20, 30))} else national[:3]
    at = written.index(national)
    subscriber = "10" + _digits_of(draw, len(national) - len(area) - 2)
    return respell(value, written[: at + len(area)] + subscriber + written[at + len(national) :])


def _resident_id(value: str, draw: Draw) -> str:
    """No region's code begins with 00, nor a country prefix with 000; the date is a day, and the check character is right."""
    born = date(1950, 1, 1) + timedelta(days=draw(20_000))
    first17 = "000" + _digits_of(draw, 3) + born.strftime("%Y%m%d") + _digits_of(draw, 3)
    if len(letters_and_digits(value)) == 15:  # noqa: PLR2004 - the form of before 1999
        return respell(value, first17[:6] + first17[8:])
    last = checks.resident_id_digit(first17)
    return respell(value, first17 + (last.lower() if value[-1] == "x" else last))


def _card(value: str, draw: Draw) -> str:
    """No issuer's number, and no telephone's of the country, begins with 00; Luhn holds."""
    body = "00" + _digits_in_groups(draw, len(digits(value)) - 3)
    return respell(value, body + checks.luhn_digit(body))


def _credit_code(value: str, draw: Draw) -> str:
    """No registering office is 0; both check characters are right."""
    organisation = _digits_of(draw, 8)
    organisation += checks.organisation_digit(organisation)
    first17 = "00" + _digits_of(draw, 6) + organisation
    return respell(value, first17 + checks.credit_code_digit(first17))


def _plate(value: str, draw: Draw) -> str:
    """No plate bears the letter O behind its province; which province is drawn too."""
    province = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤川青藏琼宁"[draw(31)]
    if value[:2].upper() == "WJ":  # the armed police's: its letters stay, and no such plate has an O
        return value[:2] + respell(value[2:].replace(value[2:].lstrip("-·• ")[0], province, 1), "O" + _digits_of(draw, 7))
    return province + respell(value[1:], "O" + _digits_of(draw, 7))


def _email(value: str, draw: Draw) -> str:
    """example.com is nobody's (RFC 2606); an obfuscated at sign stays obfuscated."""
    at = _AT.search(fold(value))
    sign = value[at.start() : at.end()] if at else "＠" if "＠" in value else "@"
    return f"user{_hex(draw, 10)}{sign}example.com"


def _ipv4(value: str, draw: Draw) -> str:
    """The networks for documentation (RFC 5737)."""
    del value
    return f"{('192.0.2', '198.51.100', '203.0.113')[draw(3)]}.{1 + draw(254)}"


def _ipv6(value: str, draw: Draw) -> str:
    """2001:db8::/32 is for documentation (RFC 3849)."""
    del value
    return IPv6Address((0x20010DB8 << 96) | draw(1 << 96)).compressed


def _mac(value: str, draw: Draw) -> str:
    """00-00-5E-00-53-xx is for documentation (RFC 7042); there are only 256."""
    number = f"00005e0053{_hex(draw, 2)}"
    return respell(value, number.upper() if value.upper() == value else number)


def _secret(value: str, draw: Draw) -> str:
    """What says REDACTED is no secret to any rule."""
    del value
    return f"sk-REDACTED-{_hex(draw, 12)}"


def _document(value: str, draw: Draw) -> str:
    """No passport, permit or card begins with X0."""
    del value
    return f"X0{_digits_of(draw, 7)}"


def _account(value: str, draw: Draw) -> str:
    """No QQ number begins with 0; no telephone number of the country with 00."""
    return respell(value, "00" + _digits_of(draw, len(digits(value)) - 2))


def _wechat(value: str, draw: Draw) -> str:
    del value
    return f"wxid_REDACTED{_hex(draw, 8)}"


def _device(value: str, draw: Draw) -> str:
    """No allocated device number begins with 00 in earnest; it is for test devices. A third 0, and it is no country prefix either."""
    return respell(value, "0000" + _digits_in_groups(draw, 11))


def _vehicle(value: str, draw: Draw) -> str:
    """No vehicle's number holds the letter O."""
    return respell(value, "O" + _digits_of(draw, 16))


def _birth(value: str, draw: Draw) -> str:
    """Nobody alive was born in 1900, so no rule takes it for a date of birth."""
    day = date(1900, 1, 1) + timedelta(days=draw(365))
    parts = re.findall(r"[0-9]+", fold(value))
    if len(parts) == 1 and len(parts[0]) == 8:  # noqa: PLR2004 - 19900131
        return respell(value, day.strftime("%Y%m%d"))
    if not parts or len(parts[0]) != 4:  # noqa: PLR2004 - the year does not come first
        return day.isoformat()
    numbers = iter((str(day.year), str(day.month).zfill(len(parts[1])), str(day.day).zfill(len(parts[-1]))))
    return re.sub(r"[0-9]+", lambda _: next(numbers), fold(value))


_MAKERS: dict[str, Callable[[str, Draw], str]] = {
    "CN_MOBILE": _mobile,
    "CN_LANDLINE": _landline,
    "CN_RESIDENT_ID": _resident_id,
    "BANK_CARD": _card,
    "CN_USCC": _credit_code,
    "CN_LICENSE_PLATE": _plate,
    "EMAIL": _email,
    "IPV4": _ipv4,
    "IPV6": _ipv6,
    "MAC": _mac,
    "URL_SECRET": _secret,
    "API_KEY": _secret,
    "JWT": _secret,
    "PASSWORD": _secret,
    "CN_PASSPORT": _document,
    "CN_TRAVEL_PERMIT": _document,
    "HMT_ID": _document,
    "QQ": _account,
    "WECHAT": _wechat,
    "IMEI": _device,
    "VIN": _vehicle,
    "DATE_OF_BIRTH": _birth,
}
