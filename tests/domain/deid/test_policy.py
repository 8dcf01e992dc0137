"""A policy says what it means or is refused with the reason."""

import time

import pytest

from domain.deid.clean import clean, making
from domain.deid.entities import ENTITIES
from domain.deid.linear import why_not_linear
from domain.deid.lines import clean_json_lines, clean_text_lines
from domain.deid.operators import DateShift, replacement, reveal
from domain.deid.policy import CompiledPolicy, PolicyError, compiled, read
from infra.deid import engine
from infra.deid.ciphers import Ciphers
from tests.deid import RING

KEY = bytes(32)


def policy(**values: object) -> CompiledPolicy:
    return compiled(read({"id": "own", "version": 1, **values}))


def text_after(one: CompiledPolicy, text: str, key: str = "") -> str:
    made = making(one, KEY, Ciphers(RING, one.policy.key_ref))
    return clean(engine.detectors(), one, [text], made, [key])[0].text


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ({"kind": "keep"}, "电话 138-1234-5678"),
        ({"kind": "redact"}, "电话 <手机号>"),
        ({"kind": "replace", "template": "<{type}_{n}>"}, "电话 <CN_MOBILE_1>"),
        ({"kind": "mask", "keep_first": 3, "keep_last": 4}, "电话 138-****-5678"),
        ({"kind": "mask"}, "电话 ***-****-****"),
        ({"kind": "hash", "length": 8}, None),
        ({"kind": "pseudonym"}, None),
        ({"kind": "token"}, None),
        ({"kind": "fpe"}, None),
    ],
)
def test_each_operator_does_what_it_says(operator: dict[str, object], expected: str | None) -> None:
    one = policy(operators={"CN_MOBILE": operator})
    text = text_after(one, "电话 138-1234-5678")

    assert text == text_after(one, "电话 138-1234-5678")
    if expected is not None:
        assert expected == text
    else:
        assert "1234-5678" not in text
        assert text == text_after(one, text)


def test_numbers_are_given_by_first_appearance_and_the_same_value_keeps_its_own() -> None:
    one = policy(defaults={"operator": {"kind": "replace"}}, language="en")

    assert "<mobile number_1> <mobile number_2> <mobile number_1>" == text_after(one, "13812345678 13912345678 138-1234-5678")


@pytest.mark.parametrize(
    ("type_", "to", "text", "expected"),
    [
        ("DATE_OF_BIRTH", "year", "生日1990年5月3日", "生日1990年"),
        ("DATE_OF_BIRTH", "decade", "生日1990-05-03", "生日1990s"),
        ("GPS", "degree", "坐标116.397128,39.916527", "坐标116.3,39.9"),
        ("IPV4", "network", "服务器10.2.3.4", "服务器10.2.3.0/24"),
        ("IPV6", "network", "inet6 240e:3a:1::5", "inet6 240e:3a:1::/48"),
    ],
)
def test_a_value_can_be_made_less_exact(type_: str, to: str, text: str, expected: str) -> None:
    one = policy(operators={type_: {"kind": "generalise", "to": to}})

    assert expected == text_after(one, text) == text_after(one, expected)


def test_dates_of_one_seed_move_alike() -> None:
    one = policy(operators={"DATE_OF_BIRTH": {"kind": "date_shift", "days": 30}})

    first, second = (text_after(one, f"生日1990-05-{day}")[-2:] for day in ("10", "11"))

    assert "10" != first
    assert (int(second) - int(first)) % 31 in {1, 2}  # the end of a month may lie between them


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("手机13812345678", "手机<手机号>"),
        ("身份证110105199003070017", "身份证<身份证号>"),
        ("卡号6222021234567890128", "卡号<银行卡号>"),
        ("生日1990年5月", "生日<出生日期>"),
    ],
)
def test_what_is_no_date_is_not_moved_but_taken_out(text: str, expected: str) -> None:
    assert expected == text_after(policy(defaults={"operator": {"kind": "date_shift"}}), text)


@pytest.mark.parametrize("value", ["1990-02-31", "0001-01-01", "1990-05-03 5"])
def test_a_day_that_the_calendar_does_not_have_is_taken_out(value: str) -> None:
    one = policy()

    assert "<出生日期>" == replacement(DateShift(days=3650), "DATE_OF_BIRTH", value, making(one, bytes(range(32)), None))


def test_a_policy_seeks_only_what_it_names_and_its_own_patterns() -> None:
    own = {"type": "CUSTOM_EMPLOYEE_NO", "pattern": "(?<![0-9A-Z])EMP[0-9]{6}(?![0-9])"}
    one = policy(detectors=[{"type": "EMAIL"}, own], defaults={"operator": {"kind": "redact"}})

    assert "<CUSTOM_EMPLOYEE_NO> <邮箱> 13812345678" == text_after(one, "EMP123456 a1@qq.com 13812345678")
    assert ["CUSTOM_EMPLOYEE_NO", "EMAIL"] == one.types


def test_names_and_addresses_are_opt_in() -> None:
    assert {"PERSON", "ADDRESS"} == {name for name, each in ENTITIES.items() if each.opt_in}
    assert not {"PERSON", "ADDRESS"} & set(policy().types)


def test_hot_words_and_allowances_are_the_policys_own() -> None:
    vetoed = policy(detectors=[{"type": "CN_MOBILE", "hotwords": {"veto": ["内线"]}}])
    assert "内线13812345678" == text_after(vetoed, "内线13812345678")

    allowing = policy(allow={"values": ["13812345678"], "patterns": [r"@corp\.cn$"]}, defaults={"operator": {"kind": "redact"}})
    assert "13812345678 <手机号> hr@corp.cn <邮箱>" == text_after(allowing, "13812345678 13912345678 hr@corp.cn hr@corp.com")

    sure = policy(defaults={"min_score": 0.9, "operator": {"kind": "redact"}})
    assert "13812345678，电话<手机号>" == text_after(sure, "13812345678，电话13912345678")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"operator": {}}, "unknown field `operator`"),
        ({"defaults": {"operator": {"kind": "scramble"}}}, "defaults.operator.kind: .*scramble"),
        ({"operators": {"CN_MOBILE": {"kind": "mask", "keep": 3}}}, "operators.* unknown field `keep`"),
        ({"operators": {"CN_MOBIL": {"kind": "mask"}}}, "there is no type CN_MOBIL; known are .*CN_MOBILE"),
        ({"operators": {"EMAIL": {"kind": "fpe"}}}, "fpe encrypts digits"),
        ({"operators": {"PERSON": {"kind": "mask", "keep_first": 2}}}, "a name that keeps more than one character"),
        ({"detectors": [{"type": "EMPLOYEE"}]}, "needs a pattern"),
        ({"detectors": [{"type": "EMPLOYEE", "pattern": "(a+)+b"}]}, "the pattern of EMPLOYEE is refused: it repeats without a bound"),
        ({"allow": {"patterns": [".*@corp"]}}, r"allow.patterns\[0\] is refused"),
        ({"version": "one"}, "version: expected `int`"),
        ({"id": "Big Id"}, "id: "),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_place(values: dict[str, object], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        policy(**values)


@pytest.mark.parametrize(
    "pattern",
    ["a*", "(a{1,9}){1,9}b", r"(a)\1", "(", "a{1,200}", "", "x?", "a{0,99}a{0,99}a{0,99}b", "(?:a|aa){1,30}b", "(?=a+)a", "[0-9]+"],
)
def test_a_pattern_that_some_text_keeps_busy_is_refused(pattern: str) -> None:
    assert why_not_linear(pattern, longest=128)


@pytest.mark.parametrize(
    "pattern", ["EMP[0-9]{6}", r"(?<![0-9])K-[A-Z]{2,4}-[0-9]{1,8}", "工号[:：]?[0-9]{4,8}", "(?:foo|bar){2}", r"@example\.com$"]
)
def test_a_pattern_that_is_taken_is_fast_on_any_text(pattern: str) -> None:
    assert why_not_linear(pattern, longest=128) is None
    one = policy(detectors=[{"type": "OWN", "pattern": pattern}])
    begin = time.process_time()
    for text in ("EMP" * 33_000, "K-A-" * 25_000, "9" * 100_000, "foobar" * 16_000):
        text_after(one, text)
    assert time.process_time() - begin < 2


LINES = [
    '{"order_id": "13812345678", "buyer_mobile": "13812345678"}',
    '{"messages": [{"role": "user", "content": "电话13812345678"}], "n":  1.50}',
    '{"clean":   "nothing here", "é": [1, 2,3]}',
    '{"phone": 13812345678, "price": 13812345678.5, "id": 5}',
    '"\\u7535\\u8bdd13812345678"',
    "",
    "not json",
    '{"a": "13812345678", "a": "x"}',
    "[" * 500 + "]" * 500,
    '{"qq": "123456789", "lat": 39.9042}',
]


def test_lines_without_anything_personal_stay_byte_for_byte() -> None:
    one = policy(defaults={"operator": {"kind": "redact"}})
    lines = [line.encode() for line in LINES] + [b'{"a": "\xff"}']
    done = clean_json_lines(engine.detectors(), one, lines, making(one, KEY, None))

    assert [
        '{"order_id":"13812345678","buyer_mobile":"<手机号>"}',
        '{"messages":[{"role":"user","content":"电话<手机号>"}],"n":1.5}',
        LINES[2],
        '{"phone":"<手机号>","price":13812345678.5,"id":5}',
        '"电话<手机号>"',
        "",
        "not json",
        LINES[7],
        LINES[8],
        '{"qq":"<QQ号>","lat":"<坐标>"}',
    ] == [(done[index].data if index in done else line).decode() for index, line in enumerate(lines[:-1])]
    assert {6, 7, 8, 10} == {index for index, line in done.items() if line.wrong}
    assert {("CN_MOBILE", "messages[].content"): 1} == done[1].counts
    assert {0, 1, 3, 4, 9} == {index for index, line in done.items() if line.counts}


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('{"13912345678": {"mobile": "13812345678"}}', "*.mobile"),
        ('{"zhang.san@qq.com": [{"x": "13812345678"}]}', "*[].x"),
        ('{"138-1234-5678": "13812345678"}', "*"),
        ('{"a": {"10.2.3.4": [["13812345678"]]}}', "a.*[][]"),
        ('{"ｕ１３９１２": "13812345678"}', "*"),
        ('[{"' + "n" * 65 + '": 13812345678}]', "[].*"),
        ('{"手机号": {"a.b[]": {"": {"v2_x": ["13812345678"]}}}}', "手机号.a.b[]..v2_x[]"),
    ],
)
def test_a_name_that_may_be_personal_is_not_in_the_counts(line: str, field: str) -> None:
    done = clean_json_lines(engine.detectors(), policy(), [line.encode()], making(policy(), KEY, None))

    assert {("CN_MOBILE", field): 1} == done[0].counts


def test_a_byte_order_mark_stays_before_its_line_and_makes_it_no_bad_one() -> None:
    one, mark = policy(defaults={"operator": {"kind": "redact"}}), b"\xef\xbb\xbf"
    lines = [mark + b'{"a": "13812345678"}', mark + b'{"a": "clean"}', mark, mark + b"{", b'{"a": "13812345678"}', mark + mark + b"{}"]
    done = clean_json_lines(engine.detectors(), one, lines, making(one, KEY, None))

    assert mark + '{"a":"<手机号>"}'.encode() == done[0].data
    assert {0, 3, 4, 5} == set(done)
    assert [False, True, False, True] == [done[place].wrong is not None for place in (0, 3, 4, 5)]
    assert lines[3] == done[3].data


def test_fields_can_be_chosen() -> None:
    chosen = policy(json={"include": ["$.messages[*].content", "$.text"], "exclude": ["$..raw"]}, defaults={"operator": {"kind": "redact"}})
    lines = [
        '{"messages":[{"content":"电话13812345678"}],"other":"电话13812345678"}',
        '{"text":{"a":"电话13812345678","raw":"电话13812345678"}}',
    ]
    done = clean_json_lines(engine.detectors(), chosen, [line.encode() for line in lines], making(chosen, KEY, None))

    assert '{"messages":[{"content":"电话<手机号>"}],"other":"电话13812345678"}' == done[0].data.decode()
    assert '{"text":{"a":"电话<手机号>","raw":"电话13812345678"}}' == done[1].data.decode()


def test_plain_lines() -> None:
    one = policy(defaults={"operator": {"kind": "redact"}})
    done = clean_text_lines(engine.detectors(), one, ["电话13812345678".encode(), b"nothing", b"\xff"], making(one, KEY, None))

    assert {0: "电话<手机号>".encode(), 2: b"\xff"} == {index: line.data for index, line in done.items()}
    assert (None, "byte 0 is not UTF-8") == (done[0].wrong, done[2].wrong)


@pytest.mark.parametrize(
    "line", ['{"a":"13812345678","a" :"clean"}', '{"a"\t: "x", "b":{"c":"13812345678" , "c"\r:1}}', '{"a":"1\\":2","a" :13812345678}']
)
def test_a_name_that_is_there_twice_is_noticed_however_it_is_written(line: str) -> None:
    done = clean_json_lines(engine.detectors(), policy(), [line.encode()], making(policy(), KEY, None))

    assert "one name twice" in (done[0].wrong or "")


def test_spaces_before_colons_are_no_repetition() -> None:
    line = '{"a" : "13812345678", "b" :  "x\\": y"}'
    done = clean_json_lines(engine.detectors(), policy(), [line.encode()], making(policy(), KEY, None))

    assert done[0].wrong is None


@pytest.mark.parametrize(
    "text",
    [
        "电话010-88886666ext12，请拨打",
        "电话 +86 138 1234 5678 谢",
        "010-88886666转12号",
        "一三八〇零两三四五六七",
        "他的 240e:3a:1::5a1@qq.com",
        "inet6 240e:3a:1::5",
        "生日1990-05-03",
    ],
)
def test_what_fpe_writes_can_be_opened_and_what_is_no_number_is_sealed(text: str) -> None:
    one = policy(defaults={"operator": {"kind": "fpe"}})
    written = text_after(one, text)

    assert (text, 1, 0) == reveal(written, Ciphers(RING, one.policy.key_ref))
    assert written == text_after(one, written)


@pytest.mark.parametrize("kind", ["token", "fpe"])
@pytest.mark.parametrize("text", ["生日1990年5月3日a1@qq.com", "电话：010-88886666京A12345", "幺三八一二三四五六七八a1@qq.com 13812345678"])
def test_tokens_without_anything_between_them_are_all_opened(text: str, kind: str) -> None:
    one = policy(defaults={"operator": {"kind": kind}})
    back, opened, closed = reveal(text_after(one, text), Ciphers(RING, one.policy.key_ref))

    assert (text, 0) == (back, closed)
    assert opened > 1


@pytest.mark.parametrize("kind", ["token", "fpe"])
@pytest.mark.parametrize("text", ["张_010-88886666", "x京A·12345", "0京A·12345 AB(3):", "A京A·12345", "MY_京A12345a1@qq.com"])
def test_a_token_behind_letters_is_opened(text: str, kind: str) -> None:
    one = policy(defaults={"operator": {"kind": kind}})
    written = text_after(one, text)

    assert written != text
    assert (text, 0) == reveal(written, Ciphers(RING, one.policy.key_ref))[::2]
