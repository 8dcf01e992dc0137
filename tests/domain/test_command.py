"""The start command: words, never a shell's text."""

import shlex

from hypothesis import given
from hypothesis import strategies as st

from domain.ids import RunId
from domain.runs.command import DEFAULT, config_path, on_host, start_argv

RUN = RunId("run_1")
CONFIG = "runs/run_1/config.yaml"


def test_the_documented_command_gets_the_config_of_its_run() -> None:
    assert ["bash", "run_train_full_sft.sh", CONFIG] == start_argv(DEFAULT, RUN)
    assert CONFIG == config_path(RUN)


def test_words_are_split_as_a_shell_splits_them_and_never_expanded() -> None:
    template = """env 'A=a b' "it's" 训练.py --config=<training_yaml> '$(id)' \\; `x` "" <training_yaml>"""

    argv = start_argv(template, RUN)

    assert ["env", "A=a b", "it's", "训练.py", f"--config={CONFIG}", "$(id)", ";", "`x`", "", CONFIG] == argv


@given(st.lists(st.text(" '\"\\$`\n\t;&|<>*?~#!{}()=-./a训练🚀\x01", max_size=20), min_size=1))
def test_whatever_a_template_quotes_arrives_as_it_is(words: list[str]) -> None:
    expected = [word.replace("<training_yaml>", CONFIG) for word in words]

    assert expected == start_argv(shlex.join(words), RUN)


def test_a_host_finds_the_config_by_its_absolute_path() -> None:
    argv = ["bash", "run.sh", CONFIG, f"--config={CONFIG}", "other/config.yaml"]

    assert ["bash", "run.sh", f"/data 1/{CONFIG}", f"--config=/data 1/{CONFIG}", "other/config.yaml"] == on_host(argv, RUN, "/data 1")
