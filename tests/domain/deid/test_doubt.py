"""Lines of JSON that are not read have nothing in them: what is found is what is found by reading every line."""

import json
import random
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

import pytest

from domain.deid.clean import making
from domain.deid.doubt import doubtful
from domain.deid.find import Detectors, Region, Scanner
from domain.deid.lines import Lines, clean_json_lines
from domain.deid.policy import compiled, read
from infra.deid import engine
from tests.deid import WIDE, card, resident_id

EVERYTHING = compiled(read({"id": "own", "version": 1, "also": ["PERSON", "ADDRESS"], "defaults": {"operator": {"kind": "redact"}}}))
NAMES = (
    "content",
    "id",
    "a",
    "phone",
    "手机号",
    "passWord",
    "access_key",
    "idCard",
    "myWx",
    "lat",
    "GPS坐标",
    "姓名",
    "userName",
    "地 址",
    "生日",
)
PIECES = (
    *("138", "1234", "5678", "13812345678", resident_id(), card(), "010-88886666", "a1@qq.com", "10.2.3.4", "240e:3a:1::5", "123456789"),
    *("京A·12345", "微信号abc_1234", "密码", "Xk29!pqr", "password=", "生日1990年5月3日", "张伟", "北京市海淀区中关村大街27号", "39.9042"),
    *("https://a.cn/?token=k3J9sd8fQ2mZ", "：", ":", "，", "。", " ", "-", "\n", "\t", "\r", '"', "\\", "\\n", "/", "\u00a0", "\u0001"),
    *("电话", "的", "x", "n", "１", "Ａ", "😀", "训练数据", "the loss of ", "\\\\"),
)


class Everything:
    """The fast scanner, that lets every line be read."""

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner

    def regions(self, text: str) -> Mapping[int, Iterable[Region]]:
        return self._scanner.regions(text)

    def ends(self, written: bytes) -> None:
        """Not tell."""


def cleaned(lines: list[bytes], detectors: Detectors) -> Lines:
    return clean_json_lines(detectors, EVERYTHING, lines, making(EVERYTHING, bytes(32), None))


def value(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.random()
    if depth < 3 and kind < 0.3:
        return {chance.choice(NAMES): value(chance, depth + 1) for _ in range(chance.randint(0, 3))}
    if depth < 3 and kind < 0.4:
        return [value(chance, depth + 1) for _ in range(chance.randint(0, 3))]
    if kind < 0.5:
        return chance.choice((13812345678, 5, 39.9042, -116.3, True, None, int(card()), 10**25, 123456))
    text = "".join(chance.choices(PIECES, k=chance.randint(0, 6)))
    return text.translate(WIDE) if chance.random() < 0.1 else text


def line(chance: random.Random) -> bytes:
    """Return a line of JSON however it may be written, and now and then one that is none."""
    written = json.dumps(
        value(chance), ensure_ascii=chance.random() < 0.2, separators=chance.choice(((",", ":"), (", ", ": "), (" ,", " : ")))
    )
    written = written.replace("/", chance.choice(("/", "\\/")))
    if chance.random() < 0.1:
        at = chance.randrange(len(written) + 1)
        written = written[:at] + chance.choice(("", "\0", "\x01", "\\", '"', "}")) + written[at + 1 :]
    return written.encode() if chance.random() < 0.95 else written.encode()[:-1] + b"\xff"


def test_what_is_not_read_has_nothing_in_it() -> None:
    chance = random.Random(11)
    lines = [line(chance) for _ in range(4_000)]

    some = engine.detectors()
    every = Detectors(some.rules, Everything(some.scanner))

    fast, slow = (cleaned(lines, detectors) for detectors in (some, every))

    for place in {*fast, *slow}:
        one, other = fast[place], slow[place]
        assert (other.data, other.counts, bool(other.wrong)) == (one.data, one.counts, bool(one.wrong)), lines[place]
    assert len(doubtful(some.scanner, lines)) < len(lines) < 3 * sum(bool(each.counts) for each in slow.values())


@pytest.mark.parametrize("escape", ["", "\\n", "\\t", "\\r", '\\"', "\\\\", "\\/", "\\u0020", "\\b"])
def test_an_escape_hides_nothing(escape: str) -> None:
    lines = [f'{{"text": "是{before}13812345678{after}好"}}'.encode() for before, after in product(("", escape), repeat=2)]

    assert [{("CN_MOBILE", "text"): 1}] * 4 == [each.counts for each in cleaned(lines, engine.detectors()).values()]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("myBirthday", "1990-05-03"),
        ("startLat", 39.9042),
        ("userQq", "123456789"),
        ("dbPassWord", "Xk29!pqr"),
        ("myWx", "abc_1234"),
        ("realName", "张伟"),
        ("家庭住址", "长安街1号"),
        ("QQ" + "x" * 300, "123456789"),
    ],
)
def test_a_field_whose_name_speaks_is_read(name: str, value: Any) -> None:
    lines = [json.dumps({"n": 1, name: value}, ensure_ascii=False).encode(), json.dumps({name: value}).encode(), b"{}"]

    assert [0, 1] == list(doubtful(engine.detectors().scanner, lines))


def test_clean_lines_are_not_read() -> None:
    lines = [
        '{"id": 7, "text": "大模型训练需要\\n大量高质量语料，准确率 91.5%"}'.encode(),
        b'{"messages": [{"role": "user", "content": "hi"}]}',
        b"",
    ]

    assert [] == list(doubtful(engine.detectors(people=False).scanner, lines))
