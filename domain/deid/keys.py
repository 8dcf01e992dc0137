"""Keys of the server, and what is derived from them. A seed chooses among unlinkable outcomes; it is never the key."""

import hmac
import re

from msgspec import Struct

from domain.deid.policy import CompiledPolicy

SECRET_BYTES = 32


class KeysError(ValueError):
    """Keys cannot be read; the message says what is wrong and never shows one."""


class Key(Struct, frozen=True):
    """One secret of the server, and the name it is known by."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        """Never show the secret."""
        return f"Key({self.id!r})"


class Keyring(Struct, frozen=True, kw_only=True):
    """The keys that are kept: the first makes everything new, the others only open what they once sealed."""

    keys: tuple[Key, ...]
    test_only: bool = False
    """True where the server has no key: what is made then can be made by anybody."""

    @property
    def current(self) -> Key:
        """The key of everything new."""
        return self.keys[0]


FOR_TESTS = Keyring(keys=(Key("test", b"tuneyard: nobody gave this server a key"),), test_only=True)
"""What a server without a key works with; it says so in every answer."""
_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})\s*:\s*([0-9A-Fa-f]{64})")


def read_keyring(text: str) -> Keyring:
    """Read keys as `id:64 hexadecimal digits`, one a line or between commas, the current one first; KeysError when they are not so."""
    keys = []
    for number, line in enumerate(re.split(r"[\n,]", text), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            message = f"key {number} is not `name:64 hexadecimal digits`; make one with `echo k1:$(openssl rand -hex {SECRET_BYTES})`"
            raise KeysError(message)
        keys.append(Key(match[1], bytes.fromhex(match[2])))
    if not keys:
        message = "there is no key in it"
        raise KeysError(message)
    if len({key.id for key in keys}) < len(keys):
        message = "two keys have one name; every key needs its own"
        raise KeysError(message)
    return Keyring(keys=tuple(keys))


def derived(secret: bytes, purpose: str) -> bytes:
    """Return the 32 bytes of HKDF-SHA256 (RFC 5869) for one purpose."""
    extracted = hmac.digest(b"tuneyard/deid", secret, "sha256")
    return hmac.digest(extracted, purpose.encode() + b"\x01", "sha256")


def seeded(key: Key, policy: CompiledPolicy, seed: int | str) -> bytes:
    """Return the key of one policy revision and seed; without the server's secret no seed tells anything about another."""
    return derived(key.secret, f"surrogates|{policy.policy.key_ref}|{policy.id}|{policy.revision}|{seed}")
