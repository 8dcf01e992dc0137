"""Training configs survive every reader, and no text can hang or crash the house."""

import math
import subprocess
import sys
import time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import Invalid, TooLarge
from infra.files.yaml_text import MAX_DEPTH, MAX_FLAWS, read, write

MIB = 2**20


def parsed(text: str | bytes) -> dict[str, Any]:
    return read(text if isinstance(text, bytes) else text.encode(), limit_bytes=MIB)


def refusal(text: str | bytes) -> Invalid:
    with pytest.raises(Invalid) as refused:
        parsed(text)
    return refused.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-5", 2e-5),
        ("1.0e+5", 1e5),
        ("3.10", 3.1),
        (".5", 0.5),
        ("5.", 5.0),
        ("012", 12),
        ("0o14", 12),
        ("0x1F", 31),
        ("-7", -7),
        ("+7", 7),
        ("9223372036854775807", 2**63 - 1),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("true", True),
        ("True", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("2024-01-01", "2024-01-01"),
        ("=", "="),
        ("'2e-5'", "2e-5"),
        ('"true"', "true"),
        ("|\n  12\n", "12\n"),
        ("!!str 12", "12"),
        ("! 12", "12"),
        ("!!float 1", 1.0),
        ("!!int 1", 1),
        ("!!map {}", {}),
        ("!!seq []", []),
        ("训练/数据.jsonl", "训练/数据.jsonl"),
        ("models/qwen2.5:latest", "models/qwen2.5:latest"),
    ],
)
def test_a_word_means_what_yaml_1_2_says(text: str, value: object) -> None:
    found = parsed(f"key: {text}")["key"]

    assert value == found
    assert type(value) is type(found)


def test_nan_is_a_float() -> None:
    assert math.isnan(parsed("key: .nan")["key"])


def test_a_byte_order_mark_is_dropped() -> None:
    assert parsed(b"\xef\xbb\xbftask_type: sft") == {"task_type": "sft"}


def test_the_order_of_keys_is_kept() -> None:
    assert list(parsed("b: 1\na: {d: 1, c: 2}\n")) == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("a: 1\na: 2", "line 2", "repeats the key 'a'"),
        ("a: {b: 1, b: 2}", "line 1", "repeats the key 'b'"),
        ("1: a", "line 1", "put it in quotes"),
        ("true: a", "line 1", "put it in quotes"),
        ("? \n: a", "line 1", "put it in quotes"),
        ("*x : a", "line 1", "alias"),
        ("? [a]\n: 1", "line 1", "put it in quotes"),
        ("a:\n  <<: {b: 1}", "line 2", "merge key"),
        ("a: &x 1", "line 1", "anchor"),
        ("a: &x {}", "line 1", "anchor"),
        ("a: 1\nb: *x", "line 2", "alias"),
        ("a: !!python/object/apply:os.system [ls]", "line 1", "remove it"),
        ("a: !secret 1", "line 1", "remove the tag"),
        ("a: !!int x", "line 1", "remove the tag"),
        ("a: !!binary aGk=", "line 1", "remove the tag"),
        ("a: 9223372036854775808", "line 1", "beyond 64 bits"),
        (f"a: {'1' * 5000}", "line 1", "beyond 64 bits"),
        ("a: 0xFFFFFFFFFFFFFFFF", "line 1", "beyond 64 bits"),
        ("a: 1e999", "line 1", "write .inf"),
        (f"a: 0.{'1' * 5000}", "line 1", "too long for a float"),
        ('a: 1\nb: "\\0"', "line 2", "NUL"),
        (b"a: 1\nb: \0", "line 2", "U+0000"),
        ("a: 1\nb: \ufeff", "line 2", "U+FEFF"),
        ("a: \x1b", "line 1", "U+001B"),
        (b"a: 1\nb: \xff", "line 2", "save the file as UTF-8"),
        (b"a: \xed\xa0\x80", "line 1", "save the file as UTF-8"),
        ("%YAML 1.1\n---\na: 1", "line 1", "directive"),
        ("a: 1\n---\nb: 2", "line 2", "second document"),
        ("- a", "line 1", "key: value"),
        ("just words", "line 1", "key: value"),
        ("--- a", "line 1", "key: value"),
        ("a: 1\n\tb: 2", "line 2", "never tabs"),
        ("a: 1\n b: 2", "line 2", "indentation"),
        ('a: "b', "line 1", "quotes"),
        ("a: " + "[" * MAX_DEPTH, "line 1", "flatter"),
        ("a: [" + "1," * 100_000 + "]", "line 1", "make the file smaller"),
    ],
)
def test_a_flaw_names_its_line_and_what_to_do(text: str | bytes, field: str, words: str) -> None:
    refused = refusal(text)

    assert [field] == [flaw.field for flaw in refused.flaws]
    assert words in refused.flaws[0].message
    assert refused.flaws[0].message in refused.detail


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"])
def test_an_empty_file_is_refused(text: str) -> None:
    assert "empty" in refusal(text).detail


def test_one_answer_names_every_wrong_place() -> None:
    refused = refusal("a: 1\na: 2\nb: *x\nc: 1e999\n")

    assert [flaw.field for flaw in refused.flaws] == ["line 2", "line 3", "line 4"]


def test_an_answer_never_grows_with_the_file() -> None:
    refused = refusal("a: *x\n" * 1000)

    assert MAX_FLAWS == len(refused.flaws)


def test_a_file_over_the_limit_is_refused_unread() -> None:
    with pytest.raises(TooLarge) as refused:
        read(b"[" * 11, limit_bytes=10)

    assert refused.value.facts == {"limit_bytes": 10}


def test_nesting_up_to_the_limit_is_read() -> None:
    deepest = parsed("a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1))["a"]

    for _ in range(MAX_DEPTH - 2):
        [deepest] = deepest
    assert deepest == []


MERGE_BOMB = "a0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
HOSTILE = {
    "merge bomb": MERGE_BOMB,
    "brackets": "[" * MIB,
    "braces": "{" * MIB,
    "brackets in a value": "a: " + "[" * (MIB - 3),
    "dashes": "- " * (MIB // 2),
    "dashes in a value": "a:\n " + "- " * (MIB // 2 - 3),
    "question marks": "? " * (MIB // 2),
    "staircase": "\n".join(" " * depth + "a:" for depth in range(1400)),
    "wide list": "a: [" + "1," * (MIB // 2 - 3) + "]",
    "wide mapping": "".join(f"k{n}: 1\n" for n in range(MIB // 12)),
    "equal keys": "a: 1\n" * (MIB // 5),
    "aliases": "a: [" + "*b," * (MIB // 3 - 2) + "]",
    "anchors": "".join(f"k{n}: &a{n} 1\n" for n in range(MIB // 18)),
    "tags": "a: [" + "!!str x," * (MIB // 8 - 1) + "]",
    "%TAG directives": "".join(f"%TAG !{n}! x\n" for n in range(MIB // 16)) + "---\na: 1\n",
    "%TAG after other line breaks": "#\x85" + "\x85".join(f"%TAG !{n}! x" for n in range(MIB // 17)) + "\u2028---\na: 1\n",
    "documents": "---\n" * (MIB // 4),
    "long word": "a: " + "x" * (MIB - 3),
    "long key": "x" * (MIB - 3) + ": 1",
    "long explicit key": "? " + "x" * (MIB - 6) + "\n: 1",
    "long integer": "a: " + "1" * (MIB - 3),
    "long hexadecimal": "a: 0x" + "f" * (MIB - 5),
    "long float": "a: ." + "1" * (MIB - 4),
    "long exponent": "a: 1e" + "1" * (MIB - 5),
    "long anchor": "a: &" + "x" * (MIB - 6) + " 1",
    "many words": "a: " + "x " * (MIB // 2 - 2),
    "blank lines": "a: x\n" + "\n" * (MIB - 5),
    "comments": "#\n" * (MIB // 2),
    "unclosed quote": 'a: "' + "x" * (MIB - 4),
    "escapes": 'a: "' + "\\u8bad" * (MIB // 6 - 1) + '"',
    "folded lines": "a: >\n" + "  x\n" * (MIB // 4 - 2),
    "flow pairs": "a: [" + "b: 1, " * (MIB // 6 - 1) + "]",
    "possible keys": "a: {" + ("x" * 1000 + " ") * (MIB // 1001 - 1),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_megabyte_of_hostile_text_is_answered_within_a_second(text: str) -> None:
    assert len(text.encode()) <= MIB
    began = time.process_time()

    try:
        parsed(text)
    except Invalid as refused:
        assert len(refused.detail) < 500  # noqa: PT017 - the answer must stay short, whether or not there is one

    assert time.process_time() - began < 1


def test_hostile_text_cannot_crash_the_process() -> None:
    """A segmentation fault would take the test runner along, so this runs in a process of its own."""
    program = (
        "import random\n"
        "from domain.errors import Invalid\n"
        "from infra.files.yaml_text import read\n"
        "pieces = ['[', ']', '{', '}', '- ', '? ', ': ', ', ', '\\n', '  ', 'a', '&a ', '*a', '!!int ', '|', '\"', '#', '%', '---', '训']\n"
        "dice = random.Random(7)\n"
        "texts = ['[' * 1_000_000, '{a: ' * 250_000, '- ' * 500_000]\n"
        "texts += ['a: ' + ''.join(dice.choices(pieces, k=dice.randrange(1, 60))) for _ in range(20_000)]\n"
        "for text in texts:\n"
        "    try:\n"
        "        read(text.encode(), limit_bytes=2**20)\n"
        "    except Invalid:\n"
        "        pass\n"
        "print('alive')\n"
    )

    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert (answer.stdout, answer.returncode) == ("alive\n", 0), answer.stderr


@given(st.binary(max_size=200) | st.text(st.sampled_from("a:-?[]{}&*!|>'\"%#\n\t ,.0e训"), max_size=60).map(str.encode))
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_read_or_refused_in_words(data: bytes) -> None:
    try:
        config = parsed(data)
    except Invalid as refused:
        assert refused.detail.endswith(".")  # noqa: PT017 - both outcomes are right
    else:
        assert config == parsed(write(config)) or "nan" in repr(config)


WORDS = ["no", "on", "Yes", "y", "1:30", "2e-5", "1e5", "012", "0o14", "0x1F", "1_000", ".5", "null", "~", "<<", "=", "2024-01-01"]
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    [*WORDS, "", "- a", "a: b", "a #b", " a", "a ", "a\n b"]
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=20)


@given(st.dictionaries(TEXTS, VALUES, max_size=5))
@settings(max_examples=150, deadline=None)
def test_every_reader_reads_back_what_was_written(config: dict[str, Any]) -> None:
    text = write(config)

    assert exact(config) == exact(parsed(text))
    assert exact(config) == exact(yaml.safe_load(text))
    assert exact(config) == exact(yaml.load(text, Loader=yaml.CSafeLoader))


def exact(value: object) -> object:
    """Types, signs and the order of keys count as well."""
    if isinstance(value, dict):
        return [(key, exact(item)) for key, item in value.items()]
    return [exact(item) for item in value] if isinstance(value, list) else repr(value)


def test_what_is_written_reads_like_a_config_made_by_hand() -> None:
    config = {
        "task_type": "sft",
        "dataset": "datasets/训练数据.jsonl",
        "learning_rate": 2e-5,
        "bf16": True,
        "seed": None,
        "answer": "no",
        "lora": {"rank": 8, "target_modules": ["q_proj", "v_proj"], "extra": {}, "none": []},
        "stages": [{"name": "warm up", "steps": 10}, [1, [2]]],
    }

    assert write(config) == (
        "task_type: sft\n"
        "dataset: datasets/训练数据.jsonl\n"
        "learning_rate: 2.0e-05\n"
        "bf16: true\n"
        "seed: null\n"
        'answer: "no"\n'
        "lora:\n"
        "  rank: 8\n"
        "  target_modules:\n"
        "    - q_proj\n"
        "    - v_proj\n"
        "  extra: {}\n"
        "  none: []\n"
        "stages:\n"
        "  - name: warm up\n"
        "    steps: 10\n"
        "  - - 1\n"
        "    - - 2\n"
    )


def test_a_key_of_any_length_survives() -> None:
    config = {"x" * 2000: {"y" * 2000: 1}, "list": [{"z" * 2000: [1]}]}

    assert config == parsed(write(config)) == yaml.safe_load(write(config))
