"""Deterministic ciphers: AES-SIV for tokens (RFC 5297), FF1 where the digits must stay digits (NIST SP 800-38G)."""

import base64
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from domain.deid.keys import Keyring, derived

ROUNDS = 10


class Ciphers:
    """The operators' cipher port: the current key seals, every key that is kept opens."""

    def __init__(self, ring: Keyring, key_ref: str) -> None:
        self._siv = [AESSIV(_twice(key.secret, f"token|{key_ref}")) for key in ring.keys]
        self._blocks = _block_cipher(derived(ring.current.secret, f"fpe|{key_ref}"))

    def seal(self, type_: str, value: str) -> str:
        """Seal a value, bound to its type."""
        return base64.b32encode(self._siv[0].encrypt(value.encode(), [type_.encode()])).rstrip(b"=").decode()

    def open(self, type_: str, sealed: str) -> str | None:
        """Open what any key that is kept has sealed."""
        try:
            data = base64.b32decode(sealed + "=" * (-len(sealed) % 8))
        except ValueError:  # binascii.Error is one, and so is what letters beyond ASCII get
            return None
        for siv in self._siv:
            try:
                return siv.decrypt(data, [type_.encode()]).decode()
            except (InvalidTag, ValueError):
                continue
        return None

    def permute(self, type_: str, number: str) -> str:
        """Encrypt decimal digits to as many."""
        return ff1(self._blocks, type_.encode(), number, decrypt=False)

    def restore(self, type_: str, number: str) -> str:
        """Decrypt them."""
        return ff1(self._blocks, type_.encode(), number, decrypt=True)


def ff1(blocks: Callable[[bytes], bytes], tweak: bytes, number: str, *, decrypt: bool) -> str:
    """Encrypt or decrypt a decimal number by FF1; `blocks` encrypts whole AES blocks, in CBC mode with a zero start."""
    count = len(number)
    left = count // 2
    right = count - left
    width = ((10**right - 1).bit_length() + 7) // 8
    taken = 4 * -(-width // 4) + 4
    head = bytes([1, 2, 1, 0, 0, 10, 10, left % 256]) + count.to_bytes(4) + len(tweak).to_bytes(4)
    padding = tweak + bytes((-len(tweak) - width - 1) % 16)
    a, b = number[:left], number[left:]
    for turn in reversed(range(ROUNDS)) if decrypt else range(ROUNDS):
        size = left if turn % 2 == 0 else right
        known, hidden = (a, b) if decrypt else (b, a)
        block = blocks(head + padding + bytes([turn]) + int(known).to_bytes(width))[-16:]
        stream = block
        for index in range(1, -(-taken // 16)):
            stream += blocks(bytes(x ^ y for x, y in zip(block, index.to_bytes(16), strict=True)))
        mixed = int.from_bytes(stream[:taken])
        result = str((int(hidden) + (-mixed if decrypt else mixed)) % 10**size).zfill(size)
        a, b = (result, a) if decrypt else (b, result)
    return a + b


def _block_cipher(key: bytes) -> Callable[[bytes], bytes]:
    cipher = Cipher(algorithms.AES(key), modes.CBC(bytes(16)))

    def blocks(data: bytes) -> bytes:
        encryptor = cipher.encryptor()
        return encryptor.update(data) + encryptor.finalize()

    return blocks


def _twice(secret: bytes, purpose: str) -> bytes:
    """Return the two keys of AES-SIV with AES-256."""
    return derived(secret, f"{purpose}|1") + derived(secret, f"{purpose}|2")
