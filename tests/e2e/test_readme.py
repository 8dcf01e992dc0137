"""The READMEs keep their word: their commands work as they stand, and their map shows the house that is there."""

import re
import subprocess
from collections.abc import Callable

import pytest

from tests.house import REPOSITORY, House

READMES = ("README.md", "README.zh-CN.md")


def test_the_five_calls_train_a_model_and_are_the_same_in_both_languages(
    make_house: Callable[..., House], sqlite_url: str, redis_url: str
) -> None:
    house = make_house(sqlite_url, redis_url, TUNEYARD_WORKING_DIR=str(REPOSITORY / "examples" / "tiny_trainer"))
    (commands,) = {command for readme in READMES for command in re.findall(r"```bash\n(.*?)```", _text(readme), re.DOTALL)}
    script = commands.replace("localhost:8000", f"127.0.0.1:{house.port}").replace("curl ", "curl --fail-with-body -sS ")

    subprocess.run(["bash", "-eu", "-c", script], cwd=REPOSITORY, check=True, timeout=30)

    run = house.ended("运维助手", "run-001", within=40)
    assert "succeeded" == run["status"]
    assert {"checkpoint", "model"} <= {artifact["type"] for artifact in run["artifacts"]}
    assert run["metrics"]["train/loss"] < 3  # it begins at 5.6


@pytest.mark.parametrize("readme", READMES)
def test_the_map_shows_every_room(readme: str) -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines()
    folders = {path.split("/")[0] for path in tracked if "/" in path and not path.startswith(".")}

    named = set(re.findall(r"^(\w+)/ ", _map(readme), re.MULTILINE))

    assert folders == named


@pytest.mark.parametrize("readme", READMES)
def test_what_the_map_names_is_there(readme: str) -> None:
    room = ""
    for line in _map(readme).splitlines():
        top = re.match(r"(\w+)/ ", line)
        room = top[1] if top else room
        inner = re.match(r"\s+((?:\w+/\s+)+)", line)
        missing = [each for each in (re.findall(r"\w+", inner[1]) if inner else []) if not (REPOSITORY / room / each).is_dir()]
        assert [] == missing, line


def _text(readme: str) -> str:
    return (REPOSITORY / readme).read_text()


def _map(readme: str) -> str:
    found = re.search(r"```text\n(domain/.*?)```", _text(readme), re.DOTALL)
    assert found
    return found[1]
