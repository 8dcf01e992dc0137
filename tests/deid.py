"""Personal data that is nobody's, for tests, each valid by its checksum; and the detectors, fast and plain."""

from functools import cache

from domain.deid import checks
from domain.deid.find import Detectors, Everywhere, Span, find
from domain.deid.keys import Key, Keyring
from domain.deid.policy import BUILT_IN
from infra.deid import engine

RING = Keyring(keys=(Key("k1", bytes(range(32))),))
EVERY_RULE = frozenset(range(len(BUILT_IN)))
WIDE = str.maketrans("0123456789-+()", "０１２３４５６７８９－＋（）")
READ_OUT = str.maketrans("0123456789", "零幺二三四五六七八九")


@cache
def plain() -> Detectors:
    """The detectors without a fast scanner."""
    return Detectors(BUILT_IN, Everywhere(BUILT_IN))


def found(text: str, key: str = "", detectors: Detectors | None = None) -> list[tuple[str, str]]:
    """Return the type and text of each value that is found."""
    return [(each.type, text[each.start : each.end]) for each in spans(text, key, detectors)]


def spans(text: str, key: str = "", detectors: Detectors | None = None) -> list[Span]:
    """Return every span of a text."""
    return find(detectors or engine.detectors(), [text], [key], EVERY_RULE)[0]


def resident_id(born: str = "19900307", region: str = "110105", order: str = "001") -> str:
    """Return a resident id with the right check character."""
    first17 = region + born + order
    return first17 + checks.resident_id_digit(first17)


def card(start: str = "622202", length: int = 19, middle: int = 0) -> str:
    """Return a card number with the right check digit."""
    body = start + str(middle).zfill(length - len(start) - 1)
    return body + checks.luhn_digit(body)


def credit_code(organisation: str = "12345678", region: str = "110105") -> str:
    """Return a unified social credit code with both check characters right."""
    first17 = "91" + region + organisation + checks.organisation_digit(organisation)
    return first17 + checks.credit_code_digit(first17)
