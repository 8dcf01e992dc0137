"""A data file is judged line by line: every defect is found where it is, and nothing is found in a clean file."""

import gzip
import json
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from domain.training.report import MOST_KEPT, Report
from domain.training.task_type import task_type_of
from infra.files.inspection import LONGEST_LINE, inspect
from infra.files.reading import open_data
from infra.files.tally import SPARSE, THOROUGH
from tests.house import REPOSITORY

CHAT = '{"id": "c", "messages": [{"role": "user", "content": "问：现在几点？"}, {"role": "assistant", "content": "答: 12:30 😀"}]}'
RL = '{"prompt": "写诗", "chosen": "春风", "rejected": "不会", "metadata": {"source": "beta"}}'
TEXT = '{"doc_id": "pt-1", "text": "预训练语料：第一段\\n第二段\\t完", "metadata": {"domain": "finance"}}'
CLEAN = {"sft": CHAT, "rl": RL, "lora": CHAT, "pretrain": TEXT}


def messages(*pairs: tuple[Any, Any], **more: Any) -> str:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in pairs], **more}, ensure_ascii=False)


def asked(**message: Any) -> str:
    return json.dumps({"messages": [{"role": "user", "content": "q"}, message]}, ensure_ascii=False)


U, A = ("user", "q"), ("assistant", "a")
PLANTED: list[tuple[str, str, str | bytes, str]] = [
    ("sft", "broken_json", CHAT[:-1], ""),
    ("sft", "broken_json", '{"messages": [{"role": "user" "content": "q"}]}', ""),
    ("sft", "broken_json", "{'messages': []}", ""),
    ("sft", "broken_json", '{"messages": [], }', ""),
    ("sft", "two_values", CHAT + CHAT, ""),
    ("sft", "not_an_object", "[1, 2]", ""),
    ("sft", "not_an_object", '"text"', ""),
    ("sft", "duplicate_key", CHAT[:-1] + ', "id": "d"}', ""),
    ("sft", "duplicate_key", CHAT.replace('"role": "user"', '"role": "user", "role" : "user"'), ""),
    ("sft", "duplicate_key", CHAT[:-1] + ', "metadata": {"a": 1, "b": ":", "a": 2}}', ""),
    ("sft", "duplicate_key", CHAT[:-1] + ', "note": "\\u003a", "note": 1}', ""),
    ("sft", "nan_value", CHAT[:-1] + ', "metadata": {"score": NaN}}', ""),
    ("sft", "nan_value", CHAT[:-1] + ', "score": 1e999}', ""),
    ("sft", "bad_utf8", CHAT.encode("gb18030", errors="replace"), ""),
    ("sft", "nul", CHAT.replace("现在", "\0"), ""),
    ("sft", "nul", CHAT.replace("现在", "\\u0000"), ""),
    ("sft", "raw_control", CHAT.replace("现在", "\x1b"), ""),
    ("sft", "raw_control", CHAT.replace("现在", "\t"), ""),
    ("sft", "control_in_text", CHAT.replace("现在", "\\u001b[0m"), ""),
    ("sft", "control_in_text", CHAT.replace("现在", "\x7f"), ""),
    ("sft", "control_in_text", CHAT.replace("现在", "\x85"), ""),
    ("sft", "lone_surrogate", CHAT.replace("现在", "\\ud83d"), ""),
    ("sft", "too_deep", CHAT[:-1] + f', "metadata": {{"a": {"[" * 150}{"]" * 150}}}}}', ""),
    ("sft", "too_deep", CHAT[:-1] + f', "metadata": {"[" * 200_000}', ""),
    ("sft", "blank_line", "", ""),
    ("sft", "blank_line", " \t ", ""),
    ("sft", "crlf", CHAT + "\r", ""),
    ("sft", "line_too_long", CHAT.replace("现在", "长" * (LONGEST_LINE // 3)), ""),
    ("sft", "missing_field", '{"conversation_id": "x"}', "messages"),
    ("sft", "wrong_kind", '{"messages": {"role": "user"}}', "messages"),
    ("sft", "wrong_kind", '{"messages": ["q", {"role": "assistant", "content": "a"}]}', "messages[0]"),
    ("sft", "wrong_kind", asked(role="assistant", content=["a"]), "messages[1].content"),
    ("sft", "wrong_kind", asked(role="assistant", content=None), "messages[1].content"),
    ("sft", "missing_field", asked(content="a"), "messages[1].role"),
    ("sft", "missing_field", asked(role="assistant"), "messages[1].content"),
    ("sft", "unknown_role", messages(U, ("bot", "a")), "messages[1].role"),
    ("sft", "empty_text", messages(U, ("assistant", "")), "messages[1].content"),
    ("sft", "empty_text", messages(U, ("assistant", " \u3000\n")), "messages[1].content"),
    ("sft", "no_user", messages(("system", "s"), A), "messages"),
    ("sft", "no_assistant", messages(U), "messages"),
    ("sft", "assistant_first", messages(A, U, A), "messages[0]"),
    ("sft", "late_system", messages(U, A, ("system", "s"), U, A), "messages[2]"),
    ("sft", "same_role_twice", messages(U, U, A), "messages[1]"),
    ("sft", "no_last_answer", messages(U, A, U), "messages[2]"),
    ("sft", "lost_tool", messages(U, ("tool", "t"), A), "messages[1]"),
    ("sft", "wrong_kind", messages(U, A, system_prompt=["s"]), "system_prompt"),
    ("sft", "wrong_kind", messages(U, A, metadata="zh"), "metadata"),
    ("sft", "other_format", '{"conversations": [{"from": "human", "value": "q"}]}', ""),
    ("sft", "other_format", '{"instruction": "q", "output": "a"}', ""),
    ("sft", "other_task", RL, ""),
    ("sft", "other_task", TEXT, ""),
    ("rl", "other_task", CHAT, ""),
    ("rl", "missing_field", '{"chosen": "a", "rejected": "b"}', "prompt"),
    ("rl", "empty_text", '{"prompt": " ", "chosen": "a", "rejected": "b"}', "prompt"),
    ("rl", "half_pair", '{"prompt": "p", "chosen": "a"}', ""),
    ("rl", "no_pair", '{"prompt": "p"}', ""),
    ("rl", "no_pair", '{"prompt": "p", "responses": []}', "responses"),
    ("rl", "same_pair", '{"prompt": "p", "chosen": "a", "rejected": "a"}', ""),
    ("rl", "two_styles", '{"prompt": "p", "chosen": "a", "rejected": "b", "responses": [{"content": "a", "score": 1}]}', ""),
    ("rl", "one_response", '{"prompt": "p", "responses": [{"content": "a", "score": 1}]}', "responses"),
    (
        "rl",
        "bad_score",
        '{"prompt": "p", "responses": [{"content": "a", "score": "0.9"}, {"content": "b", "score": 1}]}',
        "responses[0].score",
    ),
    (
        "rl",
        "bad_score",
        '{"prompt": "p", "responses": [{"content": "a", "score": 1}, {"content": "b", "score": true}]}',
        "responses[1].score",
    ),
    ("rl", "missing_field", '{"prompt": "p", "responses": [{"content": "a", "score": 1}, {"content": "b"}]}', "responses[1].score"),
    ("rl", "same_scores", '{"prompt": "p", "responses": [{"content": "a", "score": 1}, {"content": "b", "score": 1}]}', "responses"),
    ("rl", "wrong_kind", '{"prompt": "p", "responses": {"content": "a"}}', "responses"),
    ("lora", "bad_rank", messages(U, A, rank=0), "rank"),
    ("lora", "bad_rank", messages(U, A, rank="8"), "rank"),
    ("lora", "wrong_kind", messages(U, A, target_modules="q_proj"), "target_modules"),
    ("lora", "wrong_kind", messages(U, A, target_modules=["q_proj", 1]), "target_modules[1]"),
    ("pretrain", "missing_field", '{"doc_id": "x"}', "text"),
    ("pretrain", "wrong_kind", '{"text": 1}', "text"),
    ("pretrain", "empty_text", '{"text": "\\n"}', "text"),
    ("pretrain", "control_character", '{"text": "a\\bb"}', ""),
    ("pretrain", "other_task", CHAT, ""),
]
HARMLESS = {"blank_line", "crlf", "control_in_text", "same_role_twice", "no_last_answer", "lost_tool"} | {
    "same_pair",
    "two_styles",
    "one_response",
    "same_scores",
}


def judged(content: bytes, task: str | None = "sft", name: str = "train.jsonl", **more: Any) -> Report:
    return inspect(BytesIO(content), name, task_type_of(task), **more)


def found(report: Report) -> list[tuple[str, int | None, str]]:
    return [(each.rule, each.line, each.place) for finding in report.findings for each in finding.problems if each.rule != "repeated"]


def numbered(line: str, count: int) -> list[bytes]:
    """So many sound lines, no two alike."""
    return [line.replace("现在", f"现在{i}").replace("写诗", f"写诗{i}").replace("第一段", f"第{i}段").encode() for i in range(count)]


@pytest.mark.parametrize(("task", "rule", "line", "place"), PLANTED, ids=[f"{each[1]}-{at}" for at, each in enumerate(PLANTED)])
def test_a_planted_defect_is_found_at_its_line(task: str, rule: str, line: str | bytes, place: str) -> None:
    lines = numbered(CLEAN[task], 300)
    lines[211] = line if isinstance(line, bytes) else line.encode()

    report = judged(b"\n".join(lines) + b"\n", task)

    assert [(rule, 212, place)] == found(report)
    assert (0 if rule in HARMLESS else 1, 300) == (report.errors, report.lines)
    assert (299 if rule == "blank_line" else 300) == report.samples
    assert report.samples - report.errors == report.sound
    assert report.usable is (rule in HARMLESS)


def test_all_defects_of_one_file_are_found_at_once() -> None:
    planted = [each for each in PLANTED if each[0] == "sft"]
    lines = [line for each in planted for line in (CHAT.encode(), each[2] if isinstance(each[2], bytes) else each[2].encode())]

    report = judged(b"\n".join(lines) + b"\n")

    assert sorted((rule, 2 * at + 2, place) for at, (_, rule, _, place) in enumerate(planted)) == sorted(found(report))


@pytest.mark.parametrize("rule", ["rank", "target_modules"])
def test_what_samples_say_of_the_adapter_must_agree_within_a_file(rule: str) -> None:
    said: dict[str, tuple[Any, Any]] = {"rank": (8, 16), "target_modules": (["q_proj", "v_proj"], ["q_proj"])}
    one, other = (messages(("user", "你好"), A, **{rule: value}) for value in said[rule])
    lines = [*numbered(CHAT, 3), one.encode(), *numbered(CHAT, 3), one.encode(), other.encode()]

    report = judged(b"\n".join(lines), "lora")

    assert [({"rank": "rank_differs", "target_modules": "modules_differ"}[rule], 9, rule)] == found(report)
    assert "4" == report.findings[0].problems[0].facts["first"]
    assert {rule: said[rule][0]} == report.marks


def test_a_clean_file_gives_no_alarm() -> None:
    turns = [
        each for i in range(60) for each in (("user", f"第 {i} 问: 为什么？"), ("assistant", f'因为 "{i}": {{"a": [1, 2]}} \\ 😀👩‍👩‍👧'))
    ]
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "time", "arguments": "{}"}}]}
    lines = [
        messages(("system", "你是助手"), *turns),
        json.dumps(
            {
                "messages": [
                    {"role": "user", "content": "几点？"},
                    call,
                    {"role": "tool", "content": "", "name": "t"},
                    {"role": "assistant", "content": "12:30"},
                ]
            }
        ),
        messages(U, A, system_prompt=None, input_template="{x}", metadata={"深": {"更": [1, {"a": ":"}]}}, task_tags=["qa"], weight=0.5),
        json.dumps(
            {"messages": [{"role": "user", "content": "ASCII 转义：é 中文"}, {"role": "assistant", "content": "\n\t/"}]}, ensure_ascii=True
        ).replace("\\n\\t/", "\\n\\t\\/好"),
        messages(("user", "العربية"), ("assistant", "ไทย")),
        '{"messages" : [ {"content" : "a" , "role" : "user"}, {"role" : "assistant", "content" : ": b"} ] , "id": 12345678901234567890}',
    ]

    report = judged("\n".join(lines).encode())

    assert ([], 6, 6, True) == (found(report), report.lines, report.sound, report.complete)
    assert 121 == (report.statistics.turns and report.statistics.turns.max)


@pytest.mark.parametrize("task", CLEAN)
def test_a_clean_file_of_every_task_gives_no_alarm(task: str) -> None:
    report = judged(b"\n".join(numbered(CLEAN[task], 500)), task)

    assert ([], 500, 0) == (report.findings, report.sound, report.statistics.duplicates.count)


def test_the_documents_own_samples_are_clean() -> None:
    document = (REPOSITORY / "tests" / "infra" / "samples_of_document_004.jsonl").read_bytes().splitlines(keepends=True)
    tasks = ["sft", "sft", "rl", "rl", "lora", "pretrain", "pretrain"]

    assert [[]] * 7 == [found(judged(line, task)) for line, task in zip(document, tasks, strict=True)]


@pytest.mark.parametrize(
    ("content", "rule", "line"),
    [
        (b"", "empty_file", None),
        (b"\n \n", "empty_file", None),
        (b"\xef\xbb\xbf" + CHAT.encode(), "bom", 1),
        (b"[\n" + CHAT.encode() + b"\n]", "one_array", 1),
        (f"[{CHAT}, {CHAT}]".encode(), "one_array", 1),
        (b'{\n  "messages": []\n}\n', "one_array", 1),
        (b"PAR1\x15\x04", "not_text", None),
        (gzip.compress(CHAT.encode()), "not_text", None),
        (CHAT.encode("utf-16"), "nul", 1),
    ],
)
def test_a_file_that_is_wrong_as_a_whole_says_so(content: bytes, rule: str, line: int | None) -> None:
    report = judged(content)

    assert (rule, line) == found(report)[0][:2]
    assert not report.usable


@pytest.mark.parametrize("name", ["train.jsonl.gz", "train.jsonl.zst"])
def test_compressed_files_are_read_through(tmp_path: Path, name: str) -> None:
    pack = gzip.compress if name.endswith("gz") else zstandard.compress
    packed = pack(b"\n".join([*numbered(CHAT, 5000), b"{", b""]))

    def of(content: bytes) -> Report:
        (tmp_path / name).write_bytes(content)
        with open_data(tmp_path, name, ratio=1000) as file:
            return inspect(file, name, task_type_of("sft"))

    assert [("broken_json", 5001, "")] == found(of(packed))
    cut_off = of(packed[:-20])
    assert ("cut_off", True) == (cut_off.findings[-1].rule, "was cut off" in cut_off.findings[-1].problems[0].message("en"))
    assert not cut_off.usable


def test_a_text_file_is_judged_line_by_line() -> None:
    lines = ["第一段".encode(), b"", b'clean: "yes" {', b"\xff\xfe", b"a\x00b", b"c\x1bd", b""]

    report = judged(b"\n".join(lines), "pretrain", "corpus.txt")

    assert {("bad_utf8", 4, ""), ("nul", 5, ""), ("control_character", 6, "")} == set(found(report))
    assert (6, 5, 2) == (report.lines, report.samples, report.sound)


def test_the_task_is_guessed_from_the_first_samples() -> None:
    guessed = {task: judged(b"{}\n" + line.encode(), None).task_type for task, line in CLEAN.items() if task != "lora"}

    assert {task: task for task in guessed} == guessed
    assert ("lora", "pretrain") == (judged(messages(U, A, rank=8).encode(), None).task_type, judged(b"x", None, "a.txt").task_type)


def test_the_first_problems_of_a_rule_are_kept_and_the_rest_counted() -> None:
    report = judged(b"{]\n" * 1000)

    assert [("broken_json", 1000, MOST_KEPT)] == [(each.rule, each.count, len(each.problems)) for each in report.findings]
    assert (1000, 1000, 0) == (report.errors, report.samples, report.sound)


def test_a_column_says_where_in_the_line() -> None:
    def column(line: bytes) -> int | None:
        return judged(line).findings[0].problems[0].column

    assert (10, 3, 8, 3) == (column('{"中": 1, x}'.encode()), column(b"{}{}"), column(b'{"a": "\xff"}'), column(b'{"\0": 1}'))


def test_a_repeated_sample_names_the_first() -> None:
    other_id = CHAT.replace('"c"', '"d"')
    report = judged("\n".join([CHAT, messages(U, A), other_id]).encode())

    (problem,) = report.findings[0].problems
    assert ("repeated", 3, "1") == (problem.rule, problem.line, problem.facts["first"])
    assert (1, False, 3) == (report.statistics.duplicates.count, report.statistics.duplicates.estimated, report.sound)


def test_a_long_file_is_sampled_and_says_so() -> None:
    lines = [f'{{"text": "{"x" * (i % 97)}{i}"}}\n'.encode() for i in range(THOROUGH + 8000)]

    report = judged(b"".join([*lines, *lines[:8000]]), "pretrain")

    duplicates = report.statistics.duplicates
    assert duplicates.estimated
    assert 6000 < duplicates.count < 10000
    assert THOROUGH + 16000 / SPARSE * 0.8 < report.statistics.measured < THOROUGH + 16000 / SPARSE * 1.2


def test_statistics_say_how_long_and_in_which_language_the_samples_are() -> None:
    languages = {
        "zh": "这是中文回答",
        "en": "this is English",
        "ja": "これは日本語です",
        "ko": "이것은 한국어입니다",
        "other": "это русский",
    }
    lines = [messages(("user", text), ("assistant", text)) for text in languages.values()]
    long = messages(("user", "长" * 4000), A)

    statistics = judged("\n".join([*lines, long]).encode()).statistics

    assert {"zh": 2 / 6, **dict.fromkeys(["en", "ja", "ko", "other"], 1 / 6)} == pytest.approx(statistics.languages, abs=1e-3)
    assert (6, 4001) == (statistics.longest[0].line, statistics.longest[0].characters)
    assert statistics.tokens
    assert 2900 < statistics.tokens.max < 3200


def test_the_share_of_samples_that_are_too_long_is_known_for_any_length() -> None:
    report = judged("\n".join(messages(("user", "长" * size), A) for size in range(100, 2100, 20)).encode())

    assert report.over(750) == pytest.approx(0.54, abs=0.01)
    assert (1.0, 0.0) == (report.over(10), report.over(100_000))


def test_only_the_beginning_of_a_very_long_file_may_be_judged() -> None:
    report = judged(b"\n".join(numbered(CHAT, 5000)), limit=200_000)

    assert not report.complete
    assert 200_000 <= report.bytes < 400_000


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    with path.open("wb") as file:
        for number in range(24_000):
            file.write(messages(("user", f"{number} " + "训练" * 170), ("assistant", "数据" * 170)).encode() + b"\n")
        file.write(messages(("user", "长" * (50 * 2**20 // 3)), A).encode() + b"\n")

    report, kilobytes = in_child(path, "sft")

    assert [("line_too_long", 24_001, "")] == found(report)
    assert report.bytes == path.stat().st_size
    assert kilobytes < 64_000  # half of it is Python; the long line alone has 51,200


@pytest.mark.parametrize(
    "bomb",
    [b"[" * 5_000_000, b'{"a":' * 1_000_000, b'{"messages": ' + b"9" * 5_000_000 + b"}", b'"' + b"\\u0000" * 1_000_000 + b'"'],
    ids=["brackets", "braces", "digits", "escapes"],
)
def test_a_bomb_is_a_problem_of_its_line(bomb: bytes) -> None:
    report = judged(CHAT.encode() + b"\n" + bomb + b"\n" + CHAT.replace("几", "k").encode())

    assert [2] == [line for _, line, _ in found(report)]
    assert report.seconds < 2


def in_child(path: Path, task: str) -> tuple[Report, int]:
    """Inspect in a process of its own; the report, and the most memory it has taken, in KiB."""
    program = "import sys\nfrom infra.files.inspection import main\nmain(*sys.argv[1:])\nsys.stderr.write(open('/proc/self/status').read())"
    command = [sys.executable, "-P", "-c", program, str(path.parent), path.name, "100", task, ""]
    ended = subprocess.run(command, capture_output=True, check=True, cwd=REPOSITORY, text=True)
    peak = next(line for line in ended.stderr.splitlines() if line.startswith("VmHWM"))
    return msgspec.json.decode(ended.stdout, type=Report), int(peak.split()[1])
