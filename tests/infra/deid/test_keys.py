"""Keys and ciphers: read only where nobody else may read, never shown, and as the standards have them."""

import pickle
from pathlib import Path

import pytest

from domain.deid.keys import KeysError, read_keyring
from domain.deid.operators import reveal
from infra.deid.ciphers import Ciphers, _block_cipher, ff1
from infra.deid.engine import Engine
from infra.deid.keyfile import load_keyring
from infra.settings import SettingsError, load, shown
from tests.deid import RING

LINE = "k1:" + "ab" * 32


def test_a_key_file_must_be_private(tmp_path: Path) -> None:
    file = tmp_path / "deid.keys"
    file.write_text(f"# made today\n{LINE}\n")
    settings = load({"TUNEYARD_DEID_KEY_FILE": str(file)})

    file.chmod(0o644)
    with pytest.raises(SettingsError, match=r"others may read it \(mode 0644\); `chmod 600"):
        load_keyring(settings)
    file.chmod(0o600)
    assert "k1" == load_keyring(settings).current.id
    file.unlink()
    with pytest.raises(SettingsError, match="cannot be read"):
        load_keyring(settings)


@pytest.mark.parametrize("text", ["", "# nothing\n", "k1", "k1:abcd", f"{LINE}\n{LINE}", "k1:" + "zz" * 32])
def test_what_is_no_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(KeysError) as refusal:
        read_keyring(text)

    assert "abab" not in str(refusal.value)
    assert "zz" not in str(refusal.value)


def test_keys_are_never_shown() -> None:
    settings = load({"TUNEYARD_DEID_KEYS": LINE})

    assert "TUNEYARD_DEID_KEYS=***" in shown(settings)
    assert "abab" not in repr(load_keyring(settings))
    assert "\\xab" not in repr(load_keyring(settings))


def test_without_a_key_it_is_for_tests_only() -> None:
    assert "test-only" == Engine(load({})).security
    assert "keyed" == Engine(load({"TUNEYARD_DEID_KEYS": LINE})).security


def test_what_is_sealed_opens_only_as_its_type_and_with_its_key() -> None:
    ciphers, others = Ciphers(RING, "deid/main"), Ciphers(read_keyring(LINE), "deid/main")
    sealed = ciphers.seal("CN_MOBILE", "+86 138-1234-5678")

    assert sealed == ciphers.seal("CN_MOBILE", "+86 138-1234-5678")
    assert "+86 138-1234-5678" == ciphers.open("CN_MOBILE", sealed)
    assert [None] * 4 == [
        ciphers.open("EMAIL", sealed),
        others.open("CN_MOBILE", sealed),
        ciphers.open("CN_MOBILE", sealed[:-1]),
        Ciphers(RING, "deid/other").open("CN_MOBILE", sealed),
    ]


@pytest.mark.parametrize(
    ("key", "tweak", "plain", "expected"),
    [  # NIST SP 800-38G, samples 1 and 2, and 4 for AES-192
        ("2B7E151628AED2A6ABF7158809CF4F3C", "", "0123456789", "2433477484"),
        ("2B7E151628AED2A6ABF7158809CF4F3C", "39383736353433323130", "0123456789", "6124200773"),
        ("2B7E151628AED2A6ABF7158809CF4F3CEF4359D8D580AA4F", "", "0123456789", "2830668132"),
    ],
)
def test_ff1_is_that_of_the_standard(key: str, tweak: str, plain: str, expected: str) -> None:
    blocks = _block_cipher(bytes.fromhex(key))

    assert expected == ff1(blocks, bytes.fromhex(tweak), plain, decrypt=False)
    assert plain == ff1(blocks, bytes.fromhex(tweak), expected, decrypt=True)


def test_digits_stay_digits_and_come_back() -> None:
    ciphers = Ciphers(RING, "deid/main")

    hidden = ciphers.permute("CN_MOBILE", "13812345678")
    assert 11 == len(hidden)
    assert "13812345678" == ciphers.restore("CN_MOBILE", hidden) != hidden
    assert hidden != ciphers.permute("BANK_CARD", "13812345678")


def test_a_recipe_does_the_same_in_another_process() -> None:
    engine = Engine(load({"TUNEYARD_DEID_KEYS": LINE}))
    recipe = engine.recipe("default", 42)
    carried = pickle.loads(pickle.dumps(recipe))  # noqa: S301 - ours, made a moment ago

    assert engine.ready("default", 42).texts(["13812345678"])[0].text == carried.ready().texts(["13812345678"])[0].text


@pytest.mark.parametrize(
    "text", ["CN_MOBILE(4):中文字符", "CN_MOBILE(4):a=b=", "CN_MOBILE(8):AAAAAAAA", "CN_MOBILE(fpe-9999):" + "1" * 9_999]
)
def test_what_only_looks_sealed_is_counted_and_stays(text: str) -> None:
    assert (text, 0, 1) == reveal(text, Ciphers(RING, "deid/main"))
