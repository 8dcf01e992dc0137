"""The server's keys: from a setting, or from a file that nobody else may read."""

import logging
import os
import stat
from pathlib import Path

from domain.deid.keys import FOR_TESTS, Keyring, KeysError, read_keyring
from infra.settings import Settings, SettingsError

log = logging.getLogger(__name__)


def load_keyring(settings: Settings) -> Keyring:
    """Return the keys that the settings name, or the one for tests; SettingsError when they cannot be used, without showing them."""
    try:
        if settings.deid_keys:
            return read_keyring(settings.deid_keys)
        if settings.deid_key_file:
            return read_keyring(_private_text(Path(settings.deid_key_file)))
    except KeysError as wrong:
        where = "TUNEYARD_DEID_KEYS" if settings.deid_keys else f"TUNEYARD_DEID_KEY_FILE ({settings.deid_key_file})"
        message = f"{where} cannot be used: {wrong}"
        raise SettingsError(message) from None
    log.warning("there is no key for de-identification: pseudonyms are for tests only, tokens are refused; set TUNEYARD_DEID_KEY_FILE")
    return FOR_TESTS


def _private_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(64 * 1024).decode("ascii")
    except (OSError, UnicodeDecodeError) as problem:
        message = f"it cannot be read ({getattr(problem, 'strerror', None) or 'it is not text'})"
        raise KeysError(message) from None
    if not stat.S_ISREG(mode) or stat.S_IMODE(mode) & 0o077:
        message = f"others may read it (mode {stat.S_IMODE(mode):04o}); `chmod 600 {path}`"
        raise KeysError(message)
    return text
