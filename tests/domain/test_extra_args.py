"""What a caller may add to the server's command, and every way around the list that vLLM's own parser would take."""

from pathlib import Path

import pytest

from domain.deployments.extra_args import allowed, words_of
from domain.deployments.flags import REFUSED, SWITCHES, VALUES
from domain.deployments.kinds import OneOf
from domain.errors import Invalid
from tests.vllm_help import read

KNOWN = read(Path(__file__).with_name("vllm-0.32-flags.txt").read_text().splitlines())
"""Derived from the `--help=all` of vLLM 0.32; the test with the real one compares it again."""


def refusal(text: str) -> str:
    with pytest.raises(Invalid) as refused:
        words_of(text)
    assert allowed() == refused.value.facts["allowed"]
    assert {"extra_args"} == {flaw.field for flaw in refused.value.flaws}
    return refused.value.detail


def test_nothing_is_added_where_nothing_is_asked() -> None:
    assert [] == words_of("")
    assert [] == words_of("  \n ")


def test_the_documents_example_passes() -> None:
    assert ["--max-num-seqs", "4"] == words_of("--max-num-seqs 4")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("--max-num-seqs=4", ["--max-num-seqs", "4"]),
        ("--enforce-eager --no-async-scheduling", ["--enforce-eager", "--no-async-scheduling"]),
        ("--gpu-memory-utilization 0.9 --dtype 'float16'", ["--gpu-memory-utilization", "0.9", "--dtype", "float16"]),
        ("--max-model-len 25.6k", ["--max-model-len", "25.6k"]),
        ("--max-model-len -1", ["--max-model-len=-1"]),
        ("--max-logprobs=-1", ["--max-logprobs=-1"]),
        ("--limit-mm-per-prompt '{\"image\": 2}'", ["--limit-mm-per-prompt", '{"image": 2}']),
        ("--quantization awq --tool-call-parser qwen3_xml", ["--quantization", "awq", "--tool-call-parser", "qwen3_xml"]),
        ('--default-chat-template-kwargs \'{"语气": "正式"}\'', ["--default-chat-template-kwargs", '{"语气": "正式"}']),
    ],
)
def test_listed_flags_pass(text: str, words: list[str]) -> None:
    assert words == words_of(text)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_each_refused_flag_is_refused_with_its_reason_however_it_is_written(name: str) -> None:
    for written in (f"--{name}", f"--{name} x", f"--{name}=x", f"--no-{name}", f"--{name.upper()} x", f"--{name}.key=x"):
        assert REFUSED[name] in refusal(written)
        assert written.split()[0].partition("=")[0] in refusal(f"--max-num-seqs 4 {written} --enforce-eager")
    if "-" in name:
        assert REFUSED[name] in refusal(f"--{name.replace('-', '_')}=x")


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_no_abbreviation_of_a_refused_flag_passes(name: str) -> None:
    for end in range(1, len(name)):
        if name[:end] not in VALUES and name[:end] not in SWITCHES:
            assert f"--{name[:end].removeprefix('no-')}" in refusal(f"--{name[:end]} x")


@pytest.mark.parametrize("name", sorted({*VALUES, *SWITCHES}))
def test_no_other_spelling_of_an_allowed_flag_passes(name: str) -> None:
    for written in (name.replace("-", "_"), name.upper(), name[:-1], f"{name}.key"):
        if written != name:
            assert f"--{written}" in refusal(f"--{written} 1")
            assert f"--{written}" in refusal(f"--{written}=1")


def test_every_flag_of_vllm_that_is_not_listed_is_refused() -> None:
    for flag in KNOWN:
        if flag.removeprefix("--no-").removeprefix("--") not in SWITCHES and flag[2:] not in VALUES:
            assert flag in refusal(flag)
            assert flag in refusal(f"{flag}=1")


@pytest.mark.parametrize("text", ["-tp 2", "-q awq", "-O3", "-cc.mode=3", "-", "--", "-h", "- --enforce-eager"])
def test_short_forms_are_refused(text: str) -> None:
    assert "refused" in refusal(text) or "short form" in refusal(text) or "not on the list" in refusal(text)


def test_a_flag_may_be_given_once() -> None:
    assert "--max-num-seqs is given more than once" in refusal("--max-num-seqs 4 --max-num-seqs=8")
    assert "--no-enforce-eager is given more than once" in refusal("--enforce-eager --no-enforce-eager")


def test_a_word_without_a_flag_is_refused() -> None:
    assert "'/etc/model' stands alone" in refusal("/etc/model --enforce-eager")
    assert "'more' stands alone" in refusal("--max-num-seqs 4 more")
    assert "'true' stands alone" in refusal("--enforce-eager true")
    assert "'@file' stands alone" in refusal("@file")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("--max-num-seqs", "lacks its value: a whole number from 1 to 65536"),
        ("--max-num-seqs=", "must be a whole number from 1 to 65536, not ''"),
        ("--max-num-seqs 0", "must be a whole number"),
        ("--max-num-seqs ４", "must be a whole number"),
        ("--max-num-seqs --trust-remote-code", "not '--trust-remote-code'"),
        ("--max-num-seqs '4 --trust-remote-code'", "not '4 --trust-remote-code'"),
        ("--enforce-eager=true", "is a switch and takes no value"),
        ("--no-max-num-seqs", "write --max-num-seqs"),
        ("--gpu-memory-utilization 1.5", "a number from 0.01 to 1"),
        ("--gpu-memory-utilization nan", "a number from 0.01 to 1"),
        ("--dtype int4", "one of auto, bfloat16"),
        ("--max-model-len 1e9", "or auto or -1"),
        ("--reasoning-parser ../x.py", "a plain name"),
        ("--reasoning-parser a.b.C", "a plain name"),
        ("--generation-config /etc", "one of auto, vllm"),
        ("--limit-mm-per-prompt [1]", "a JSON object"),
        ("--limit-mm-per-prompt {", "a JSON object"),
        ("--limit-mm-per-prompt " + '{"a":' * 9 + "1" + "}" * 9, "a JSON object"),
        ("--max-num-seqs '4", "cannot be split into words (No closing quotation)"),
        ("--seed '1\n2'", "control characters"),
        ("--seed '1\x00'", "control characters"),
        ("--enforce-eager " * 300, "longer than 4096"),
        ("--made-up 1", "--made-up is not on the list"),
    ],
)
def test_wrong_values_are_named(text: str, said: str) -> None:
    assert said in refusal(text)


def test_all_that_is_wrong_is_named_at_once() -> None:
    said = refusal("--trust-remote-code --host 0.0.0.0 --max-num-seqs x --enforce-eager")

    assert "--trust-remote-code is refused" in said
    assert "--host is refused" in said
    assert "--max-num-seqs must be" in said
    assert "--enforce-eager" not in said


def test_the_lists_are_those_of_vllm() -> None:
    """A flag that vLLM does not know would end every server that is given it; one that is refused should be one."""
    for name in SWITCHES:
        assert {f"--{name}", f"--no-{name}"} <= KNOWN.keys()
    for name, kind in VALUES.items():
        assert f"--{name}" in KNOWN
        assert f"--no-{name}" not in KNOWN
        if isinstance(kind, OneOf) and KNOWN[f"--{name}"]:
            assert set(kind.words) <= set(KNOWN[f"--{name}"])
    assert {f"--{name}" for name in REFUSED} <= KNOWN.keys()
    assert not REFUSED.keys() & {*VALUES, *SWITCHES}
