"""The command line against a real server and real trainings: what people see, what programs read, and what the exit code tells."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.house import PATIENCE, REPOSITORY, House, eventually
from tests.toys import count
from tuneyard import show
from tuneyard.answers import Run
from tuneyard.client import Client
from tuneyard.connection import TuneyardError
from tuneyard.follow import exit_code
from tuneyard.values import from_option

LINES = 30
TRAINER = f"""
value() {{ sed -n "s/^$1: *//p" "$config" | tr -d "'\\""; }}
config=$1
for step in 1 2 3; do echo "{{\\"step\\": $step, \\"train/loss\\": $((6 - step)).5}}"; done
exec "$PYTHON" -S {REPOSITORY}/tests/toys/count.py --lines {LINES} --exit "$(value ends_with)" --until "$(value until)"
"""
"""Prints three losses and numbered lines; its config says when it ends, and how."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[House]:
    """Give a running house with a project `项目`, for all tests of this module."""
    folder = tmp_path_factory.mktemp("house")
    house = House(folder, f"sqlite:///{folder}/training.db", redis_url).start()
    house.project(script=TRAINER, ends_with=0, until="/")
    yield house
    house.close()


@pytest.fixture(scope="module")
def tuneyard(house: House) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run a command to its end."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command(*arguments), capture_output=True, text=True, env=environment(house), timeout=PATIENCE, check=False)

    return run


def test_waiting_tells_a_shell_what_became_of_the_run(tuneyard: Callable[..., Any]) -> None:
    good = tuneyard("runs", "launch", "项目", "--name", "good", "--wait")
    bad = tuneyard("runs", "launch", "项目", "--name", "bad", "--set", "ends_with=3", "--wait", "--json")

    assert (0, 1) == (good.returncode, bad.returncode)
    assert "good Succeeded" in good.stderr
    assert ("failed", 3, "user_code") == (
        json.loads(bad.stdout)["status"],
        json.loads(bad.stdout)["exit_code"],
        json.loads(bad.stdout)["failure"]["class"],
    )


@pytest.mark.parametrize(
    ("status", "failure", "code"),
    [
        ("succeeded", None, 0),
        ("cancelled", None, 5),
        ("failed", "user_code", 1),
        ("failed", "out_of_memory", 1),
        ("failed", "bad_input", 1),
        ("failed", "timeout", 1),
        ("failed", "infrastructure", 3),
        ("failed", "platform", 3),
    ],
)
def test_the_exit_code_tells_who_failed(status: str, failure: str | None, code: int) -> None:
    run: Run = {"id": "run_1", "name": "run-001", "status": status, "progress": 1.0, "started_at": None}
    if failure:
        run["failure"] = {"class": failure, "reason": "because", "log_excerpt": []}

    assert code == exit_code(run)


def test_a_cancelled_run_exits_5(tuneyard: Callable[..., Any]) -> None:
    run = json.loads(tuneyard("runs", "launch", "项目", "--set", "until=/never", "--json").stdout)["name"]

    cancelled = tuneyard("runs", "cancel", "项目", run, "--force", "--json")

    assert "cancelled" == json.loads(cancelled.stdout)["status"]
    assert 5 == tuneyard("logs", "项目", run, "-f").returncode


def test_following_prints_every_line_once_and_ends_with_the_run(tuneyard: Callable[..., Any]) -> None:
    done = tuneyard("runs", "launch", "项目", "--name", "followed", "--follow")

    assert 0 == done.returncode
    assert expected() == [line.split(" ", 1)[1] for line in done.stdout.splitlines() if " L " in line]
    assert "train/loss 5.5 → 3.5 █▅▁" in done.stderr


def test_following_for_a_program_is_a_line_of_json_per_line_of_log(tuneyard: Callable[..., Any]) -> None:
    done = tuneyard("--json", "runs", "launch", "项目", "--name", "read", "--follow")

    *lines, run = [json.loads(line) for line in done.stdout.splitlines()]
    assert expected() == [line["message"] for line in lines if line["message"].startswith("L ")]
    assert list(range(len(lines))) == [line["number"] for line in lines]
    assert "succeeded" == run["status"]


def test_ctrl_c_detaches_and_the_run_goes_on(house: House, tmp_path: Path) -> None:
    arguments = ("runs", "launch", "项目", "--name", "long", "--set", f"until={tmp_path}/go", "--follow")
    said = tmp_path / "said"
    with said.open("wb") as output:
        follower = subprocess.Popen(command(*arguments), stdout=output, stderr=output, env=environment(house))
        eventually(lambda: f" L {LINES - 1} " in said.read_text())

        follower.send_signal(signal.SIGINT)

        assert 130 == follower.wait(PATIENCE)
    assert "detached; long goes on" in said.read_text()
    assert "tuneyard logs 项目 long -f" in said.read_text().replace("'", "")
    assert "running" == house.run("项目", "long")["status"]
    (tmp_path / "go").touch()
    assert "succeeded" == house.ended("项目", "long")["status"]


def test_every_answer_is_json_when_a_program_asks(tuneyard: Callable[..., Any], tmp_path: Path) -> None:
    data, config = tmp_path / "more.jsonl", tmp_path / "plain.yaml"
    data.write_text('{"messages": [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "您好"}]}\n')
    config.write_text("task_type: sft\nlearning_rate: 2e-5\n")
    tuneyard("runs", "launch", "项目", "--name", "shown", "--wait")

    def asked(words: str) -> Any:
        done = tuneyard(*words.split(), "--json")
        assert 0 == done.returncode, done.stderr
        return json.loads(done.stdout)

    first, again = asked(f"datasets push {data} --task-type sft"), asked(f"datasets push {data}")
    asked(f"configs push {config}")
    asked("projects create 另一个 --dataset datasets/more/more.jsonl --config configs/plain.yaml --set num_epochs=3 --tag a --tag b")
    project, log, losses = asked("projects get 另一个"), asked("logs 项目 shown --page 1 --page-size 2"), asked("metrics 项目 shown")
    lists = [asked(words) for words in ("projects list", "datasets list", "configs list", "runs list 项目", "artifacts 项目 shown")]

    assert "datasets/more/more.jsonl" == first["path"] == again["path"]
    assert [1] == [each["number"] for each in asked("datasets versions more")]
    assert 1 == len(asked("datasets preview more -n 1")["items"])
    assert 1 == len(asked("datasets show more")["files"])
    assert ({"num_epochs": 3}, ["a", "b"]) == (project["default_hyperparameters"], project["tags"])
    assert [5.5, 4.5, 3.5] == [metric["value"] for metric in losses]
    assert (2, LINES + 5) == (len(log["items"]), log["total"])
    assert [list] * 5 == [type(each) for each in lists]
    assert "shown" == asked("runs get 项目 shown")["name"]


def test_a_person_sees_what_changed_in_a_config(tuneyard: Callable[..., Any], tmp_path: Path) -> None:
    config = tmp_path / "变化.yaml"
    for rate, comment in (("2e-5", ""), ("1e-5", ""), ("1e-5", "# 备注\n")):
        config.write_text(f"task_type: sft\n{comment}learning_rate: {rate}\n")
        tuneyard("configs", "push", str(config))

    versions = tuneyard("configs", "versions", "变化.yaml").stdout.splitlines()
    value = tuneyard("configs", "diff", "configs/变化.yaml", "--from", "1", "--to", "2").stdout
    comment = tuneyard("configs", "diff", "变化.yaml").stdout
    unknown = tuneyard("configs", "diff", "变化.yaml", "--to", "9")

    assert ["3", "2", "1"] == [line.split()[0] for line in versions[1:]]
    assert "-learning_rate: 2e-5\n+learning_rate: 1e-5\n1 value differs between versions 1 and 2 of configs/变化.yaml\n" in value
    assert "+# 备注" in comment
    assert "no value differs between versions 2 and 3 of configs/变化.yaml" in comment
    assert 2 == unknown.returncode
    assert "变化.yaml has no version 9" in unknown.stderr


def test_a_person_sees_tables_with_chinese_in_line(tuneyard: Callable[..., Any]) -> None:
    tuneyard("projects", "create", "中文名字", "--owner", "小王")
    tuneyard("projects", "create", "ascii", "--owner", "someone")

    lines = tuneyard("projects", "list").stdout.splitlines()

    columns = [width_before(line, owner) for line in lines for owner in ("owner", "小王", "someone") if owner in line]
    assert 3 == len(columns)
    assert 1 == len(set(columns))


def test_a_log_is_printed_whole_or_by_time(tuneyard: Callable[..., Any]) -> None:
    tuneyard("runs", "launch", "项目", "--name", "logged", "--wait")

    whole = tuneyard("logs", "项目", "logged", "--page-size", "7").stdout
    later = tuneyard("logs", "项目", "logged", "--since", "2999-01-01").stdout

    assert expected() == [line.split(" ", 1)[1] for line in whole.splitlines() if " L " in line]
    assert "" == later


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("projects create 项目", "项目"),
        ("runs get 项目 nothing", "nothing"),
        ("runs launch nowhere", "nowhere"),
        ("runs launch 项目 --dataset lost", "dataset"),
        ("runs launch 项目 --set oops", "KEY=VALUE"),
        ("logs 项目 good --since yesterday", "start_time"),
        ("projects list --status strange", "status"),
    ],
)
def test_what_is_refused_is_said_in_a_few_words(tuneyard: Callable[..., Any], arguments: str, said: str) -> None:
    done = tuneyard(*arguments.split())

    assert 2 == done.returncode
    assert "" == done.stdout
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_check_says_what_a_launch_would_meet_and_launches_nothing(house: House, tuneyard: Callable[..., Any], tmp_path: Path) -> None:
    data = tmp_path / "broken.jsonl"
    data.write_text('{"messages": []}\n')
    before = house.ok("GET", "/projects/项目")["run_count"]
    tuneyard("datasets", "push", str(data), "--task-type", "sft")

    good, bad = tuneyard("runs", "check", "项目"), tuneyard("runs", "check", "项目", "--dataset", "broken", "--set", "learning_rate=7")

    assert (0, 2) == (good.returncode, bad.returncode)
    assert "✓ ready to launch" in good.stdout
    assert "hyperparameters.learning_rate: `learning_rate` is 7; it must be more than 0 and at most 1" in bad.stdout
    assert "datasets/broken/broken.jsonl, line 1, messages: no message is from the user" in bad.stdout
    assert "    → give at least one question and one answer" in bad.stdout
    assert "✗ 3 problems" in bad.stdout
    assert before == house.ok("GET", "/projects/项目")["run_count"]


def test_where_no_server_is_it_says_how_to_start_one(tuneyard: Callable[..., Any]) -> None:
    done = tuneyard("--url", "http://127.0.0.1:9", "projects", "list")

    assert 4 == done.returncode
    assert "http://127.0.0.1:9" in done.stderr
    assert "tuneyard up" in done.stderr


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(TuneyardError, match="cannot be used"), Client("http://[") as client:
        client.projects()


def test_the_doctor_looks_at_everything(tuneyard: Callable[..., Any]) -> None:
    done = tuneyard("doctor", "--json")

    findings = {finding["subject"]: finding["state"] for finding in json.loads(done.stdout)}
    assert 0 == done.returncode
    assert {"python": "ok", "redis": "ok", "server": "ok", "hosts": "ok"}.items() <= findings.items()
    assert {"docker", "gpus", "database", "training directory"} <= findings.keys()


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], ""),
        ([None, float("nan")], ""),
        ([1.0], "▁"),
        ([1, 2, 3, 4, 5, 6, 7, 8], "▁▂▃▄▅▆▇█"),
        ([8.0, None, 1.0], "█▁"),
        ([0.0, 2.0, 10.0, 12.0], "▁█"),
    ],
)
def test_a_curve_has_its_highest_and_lowest_bar_where_the_values_have(values: list[float | None], line: str) -> None:
    assert line == show.sparkline(values, width=2 if line == "▁█" else 40)


def test_a_value_on_the_command_line_means_what_it_would_in_json() -> None:
    given = tuple(
        f"k{n}={text}" for n, text in enumerate(["3", "2e-5", "true", "null", "[1, 2]", '"3"', "a=b", "NaN", "1e999", "学习率", ""])
    )

    read = from_option(None, None, given)  # type: ignore[arg-type] # click's context and parameter, which it does not look at

    assert [3, 2e-5, True, None, [1, 2], "3", "a=b", "NaN", "1e999", "学习率", ""] == list(read.values())


def command(*arguments: str) -> list[str]:
    """The command line."""
    return [sys.executable, "-P", "-m", "tuneyard", *arguments]


def environment(house: House) -> dict[str, str]:
    """An environment in which the house is the server, and the caller speaks English."""
    return house.environment | {"TUNEYARD_URL": house.url, "LC_ALL": "C.UTF-8"}


def expected() -> list[str]:
    """The numbered lines of every run."""
    return count.lines(LINES).decode().splitlines()


def width_before(line: str, word: str) -> int:
    """Columns of a terminal before a word: a Chinese character takes two."""
    return sum(2 if re.match(r"[\u4e00-\u9fff]", character) else 1 for character in line.partition(word)[0])
