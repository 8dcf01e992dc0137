"""Operators: what takes a value's place. Each is a tagged struct of a policy; `replacement` is the one function that applies them."""

import hmac
import re
from collections.abc import Callable
from datetime import date, timedelta
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal, Protocol

from msgspec import Meta, Struct

from domain.deid import seals
from domain.deid.entities import ENTITIES, label
from domain.deid.surrogates import bare, drawer, surrogate
from domain.deid.text import digits, fold, respell

Scope = Literal["text", "request"]


class _Operator(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all operators have in common."""


class Keep(_Operator, frozen=True, tag="keep"):
    """Leave the value as it is; it is still reported."""


class Redact(_Operator, frozen=True, tag="redact"):
    """Put the type's name in its place, such as `<手机号>`."""


class Replace(_Operator, frozen=True, tag="replace"):
    """Put a text in its place; `{type}`, `{label}` and the number `{n}` of the value are filled in."""

    template: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^<[^<>{}\n]*(?:\{(?:n|type|label)\}[^<>{}\n]*)*>$")] = (
        "<{label}_{n}>"
    )
    scope: Scope = "text"
    """Within what the same value has the same number: a text, or all texts of a request."""


class Mask(_Operator, frozen=True, tag="mask"):
    """Cover all characters but the first and the last few. For display: it leaks what it shows."""

    keep_first: Annotated[int, Meta(ge=0, le=16)] = 0
    keep_last: Annotated[int, Meta(ge=0, le=16)] = 0
    char: Annotated[str, Meta(min_length=1, max_length=1, pattern=r"^[*•＊█#×]$")] = "*"


class Hash(_Operator, frozen=True, tag="hash"):
    """A keyed hash of the value, for joins: `<CN_MOBILE:9f86d081884c7d65>`."""

    length: Annotated[int, Meta(ge=8, le=64)] = 16
    """Hexadecimal digits."""


class Pseudonym(_Operator, frozen=True, tag="pseudonym"):
    """A value of the same shape that is nobody's; the same for the same value under the same seed."""


class Token(_Operator, frozen=True, tag="token"):
    """The value itself, sealed: `CN_MOBILE(44):…`. Whoever has the key and the role can open it."""


class Fpe(_Operator, frozen=True, tag="fpe"):
    """The value's digits, encrypted to as many digits (FF1) and marked: `CN_MOBILE(fpe-11):…`. Only where a format must stay."""


class Generalise(_Operator, frozen=True, tag="generalise"):
    """Less exact: a date to its year or decade, coordinates to a tenth of a degree, an address to its city, an IP to its network."""

    to: Literal["year", "decade", "city", "network", "degree"] | None = None


class DateShift(_Operator, frozen=True, tag="date_shift"):
    """A date moved by a number of days that the key decides; all dates of one seed move alike, so intervals stay."""

    days: Annotated[int, Meta(ge=1, le=3650)] = 365
    """At most so many, either way."""


Operator = Keep | Redact | Replace | Mask | Hash | Pseudonym | Token | Fpe | Generalise | DateShift
REVERSIBLE = (Token, Fpe)
FROM_THE_VALUE = (Pseudonym, Generalise, DateShift, Hash, Replace)
"""These look at the value alone, where a span covers more than it; the others at all that they take away."""


class Cipher(Protocol):
    """Deterministic ciphers under the server's key."""

    def seal(self, type_: str, value: str) -> str:
        """Encrypt and authenticate a value: letters A to Z and digits only, without padding."""
        ...

    def open(self, type_: str, sealed: str) -> str | None:
        """Give back what was sealed, under any key that is still kept; None when it was not, or the key is gone."""
        ...

    def permute(self, type_: str, number: str) -> str:
        """Encrypt at least six decimal digits to as many."""
        ...

    def restore(self, type_: str, number: str) -> str:
        """Give back the digits of `permute`."""
        ...


class Numbers:
    """Which number a value of a type has got: the first seen is 1."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], int] = {}
        self._last: dict[str, int] = {}

    def of(self, type_: str, value: str) -> int:
        """Give the number of this value."""
        number = self._seen.get((type_, value))
        if number is None:
            number = self._seen[type_, value] = self._last[type_] = self._last.get(type_, 0) + 1
        return number


class Making(Struct, frozen=True):
    """What operators draw on while one request is served."""

    key: bytes
    language: str
    cipher: Cipher | None
    numbers: dict[Scope, Numbers]


def replacement(operator: Operator, type_: str, value: str, making: Making) -> str:
    """Return what takes the place of a value."""
    if isinstance(operator, Pseudonym):
        return surrogate(making.key, type_, value)
    return _MAKERS[type(operator)](operator, type_, value, making)


def _redact(operator: Redact, type_: str, value: str, making: Making) -> str:
    del operator, value
    return f"<{label(type_, making.language)}>"


def _replace(operator: Replace, type_: str, value: str, making: Making) -> str:
    number = making.numbers[operator.scope].of(type_, bare(type_, value)) if "{n}" in operator.template else 0
    return operator.template.format(n=number, type=type_, label=label(type_, making.language))


def _mask(operator: Mask, type_: str, value: str, making: Making) -> str:
    del making
    places = [place for place, each in enumerate(value) if each.isalnum()]
    if type_ == "CN_MOBILE":
        places = places[-11:]  # the country prefix tells nothing
    first, last = operator.keep_first, operator.keep_last
    if len(places) < first + last + 3:  # it would hide next to nothing
        first = last = 0
    hidden = set(places[first : len(places) - last])
    masked = "".join(operator.char if place in hidden else each for place, each in enumerate(value))
    return masked if len(hidden) >= SHORTEST_MASK else operator.char * SHORTEST_MASK


def _hash(operator: Hash, type_: str, value: str, making: Making) -> str:
    digest = hmac.digest(making.key, f"hash\0{type_}\0{bare(type_, value)}".encode(), "sha256")
    return f"<{type_}:{digest.hex()[: operator.length]}>"


def _token(operator: Token, type_: str, value: str, making: Making) -> str:
    del operator
    assert making.cipher is not None  # noqa: S101 - a policy with tokens is refused without a key
    sealed = making.cipher.seal(type_, value)
    return f"{type_}({len(sealed)}):{sealed}"


def _fpe(operator: Fpe, type_: str, value: str, making: Making) -> str:
    """Encrypt the digits where they are the value and can be told again from what is written; where not, all of it is sealed."""
    assert making.cipher is not None  # noqa: S101 - as above
    del operator
    number = digits(value)
    if type_ in NUMERIC and len(number) >= seals.FEWEST_DIGITS and bare(type_, value) in number:  # else something overlapped the value
        written = respell(value, making.cipher.permute(type_, number))
        if len(written) <= LONGEST_FPE and _opened(type_, written, making.cipher, digits_only=True) == value:
            return f"{type_}(fpe-{len(written)}):{written}"
    return _token(Token(), type_, value, making)


NUMERIC = frozenset({"CN_MOBILE", "CN_LANDLINE", "BANK_CARD", "QQ", "IMEI"})
"""Types that are nothing but digits, which `fpe` can keep; any other is sealed by it."""
LONGEST_FPE = 64
"""Characters; a number and its separators are far shorter."""
SHORTEST_MASK = 3
_DATE = re.compile(r"([0-9]{4})(\D{0,2})([0-9]{1,2})(\D{0,2})([0-9]{1,2})?")
_DECIMAL = re.compile(r"([0-9]+\.[0-9])[0-9]+")
_DMS_REST = re.compile(r"°\s?[0-9]{1,2}\s?[′'’分]\s?(?:[0-9.]{1,8}\s?(?:[″\"”秒]|''|′′)\s?)?")
_CITY = re.compile(r".{0,12}?(?:市|自治州|地区|盟)")


def _generalise(operator: Generalise, type_: str, value: str, making: Making) -> str:
    plain = fold(value)
    if type_ == "DATE_OF_BIRTH" and (year := re.search(r"(?:19|20)[0-9]{2}", plain)):
        decade = operator.to == "decade"
        return f"{year[0][:3]}0s" if decade else f"{year[0]}年" if "年" in plain else year[0]
    if type_ == "GPS":
        return _DMS_REST.sub("°", _DECIMAL.sub(r"\1", plain))
    if type_ == "ADDRESS" and (city := _CITY.match(plain)):
        return city[0]
    if type_ == "IPV4":
        return str(IPv4Network((plain, 24), strict=False))
    if type_ == "IPV6":
        return str(IPv6Network((plain, 48), strict=False))
    return _redact(Redact(), type_, value, making)


def _date_shift(operator: DateShift, type_: str, value: str, making: Making) -> str:
    """Move a whole date; what is no day of the calendar, or no date at all, is taken out."""
    plain = fold(value)
    match = _DATE.search(plain)
    if type_ != "DATE_OF_BIRTH" or match is None or match[5] is None or digits(plain[: match.start()] + plain[match.end() :]):
        return _redact(Redact(), type_, value, making)
    days = 1 + drawer(making.key, "date_shift", "")(operator.days * 2)
    try:
        day = date(int(match[1]), int(match[3]), int(match[5])) + timedelta(days=days - operator.days - (days <= operator.days))
    except (ValueError, OverflowError):
        return _redact(Redact(), type_, value, making)
    moved = f"{day.year}{match[2]}{str(day.month).zfill(len(match[3]))}{match[4]}{str(day.day).zfill(len(match[5]))}"
    return plain[: match.start()] + moved + plain[match.end() :]


def _keep(operator: Keep, type_: str, value: str, making: Making) -> str:
    del operator, type_, making
    return value


_MAKERS: dict[type, Callable[..., str]] = {
    Keep: _keep,
    Redact: _redact,
    Replace: _replace,
    Mask: _mask,
    Hash: _hash,
    Token: _token,
    Fpe: _fpe,
    Generalise: _generalise,
    DateShift: _date_shift,
}
_MARK = re.compile(seals.MARK)
"""Without a boundary before it: letters of the text may seem a part of its type."""


def reveal(text: str, cipher: Cipher) -> tuple[str, int, int]:
    """Return a text with every token opened, how many were, and how many could not be."""
    opened = closed = at = 0
    pieces = []
    match = _MARK.search(text)
    while match:
        behind, end = match.end(), match.end() + int(match["length"])
        if end <= len(text):
            digits_only = match["fpe"] is not None
            for type_ in _types(match["type"], digits_only=digits_only):
                value = _opened(type_, text[behind:end], cipher, digits_only=digits_only)
                if value is not None:
                    opened += 1
                    pieces += [text[at : match.end("type") - len(type_)], value]
                    at = behind = end
                    break
            else:
                closed += 1
        match = _MARK.search(text, behind)
    return "".join([*pieces, text[at:]]), opened, closed


def _types(name: str, *, digits_only: bool) -> list[str]:
    """Return what a mark's type may be, if letters before it seem a part of it; only of tokens can a wrong one be told from the right."""
    endings = [ending for begin in range(1, len(name)) if (ending := name[begin:]) in ENTITIES]
    if not digits_only:
        return [name, *endings]
    return [name] if name in ENTITIES else next(([each] for each in endings if each in NUMERIC), [name])


def _opened(type_: str, sealed: str, cipher: Cipher, *, digits_only: bool) -> str | None:
    if not digits_only:
        return cipher.open(type_, sealed)
    number = digits(sealed) if len(sealed) <= LONGEST_FPE else ""
    return respell(sealed, cipher.restore(type_, number)) if len(number) >= seals.FEWEST_DIGITS else None
