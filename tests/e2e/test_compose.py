"""The compose file and its images: accepted by every compose that is here, safe as it stands, and made of what is in the repository."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.settings import DEFAULT_TRAINING_PATH, Settings, load
from tests.house import REPOSITORY
from tuneyard.cli import root

FILE = REPOSITORY / "docker-compose.yml"
ENVIRONMENT = {"TUNEYARD_TOKEN": "t" * 40, "POSTGRES_PASSWORD": "p" * 40, "TUNEYARD_DEID_KEYS": "k1:" + "d" * 64, "DOCKER_GID": "111"}
"""What the file's first lines tell to write into .env."""
OURS = ("api", "worker")
COMPOSES = (["docker-compose"], ["docker", "compose"])


@pytest.mark.parametrize("compose", COMPOSES, ids=" ".join)
def test_compose_accepts_the_file(compose: list[str], tmp_path: Path) -> None:
    shown = yaml.safe_load(_config(compose, tmp_path, ENVIRONMENT).stdout)

    assert set(_services(ENVIRONMENT)) == set(shown["services"])
    assert f"postgresql://tuneyard:{'p' * 40}@database/tuneyard" == shown["services"]["api"]["environment"]["TRAINING_DB_URL"]


@pytest.mark.parametrize("missing", ENVIRONMENT)
@pytest.mark.parametrize("compose", COMPOSES, ids=" ".join)
def test_compose_refuses_without_what_only_the_operator_can_know(compose: list[str], missing: str, tmp_path: Path) -> None:
    done = _config(compose, tmp_path, {name: value for name, value in ENVIRONMENT.items() if name != missing}, check=False)

    assert done.returncode != 0
    assert "set it in .env" in done.stderr


@pytest.mark.parametrize("missing", ENVIRONMENT)
def test_what_only_the_operator_can_know_has_no_default(missing: str) -> None:
    with pytest.raises(KeyError, match=missing):
        _services({name: value for name, value in ENVIRONMENT.items() if name != missing})


def test_the_first_lines_tell_to_write_all_that_is_required() -> None:
    (command,) = re.findall(r"printf '(.+)'", FILE.read_text())

    assert list(ENVIRONMENT) == re.findall(r"([A-Z_]+)=(?:k1:)?%s", command)


def test_nothing_is_published_beyond_this_machine() -> None:
    ports = {name: service.get("ports", []) for name, service in _services(ENVIRONMENT).items()}

    assert {"api"} == {name for name, published in ports.items() if published}
    assert all(port.startswith("127.0.0.1:") for port in ports["api"])
    assert not any(service.get("network_mode") == "host" or service.get("privileged") for service in _services(ENVIRONMENT).values())


def test_every_service_tells_whether_it_is_well_and_comes_back_by_itself() -> None:
    for name, service in _services(ENVIRONMENT).items():
        assert service["healthcheck"]["test"], name
        assert "unless-stopped" == service["restart"], name


def test_whoever_waits_for_another_waits_until_it_is_well() -> None:
    waits = {name: service.get("depends_on", {}) for name, service in _services(ENVIRONMENT).items()}

    assert {"database", "redis"} == set(waits["api"])
    assert {"api", "trainer"} == set(waits["worker"])
    assert {"service_healthy"} == {wish["condition"] for others in waits.values() for wish in others.values()}


def test_images_have_a_tag_that_says_which() -> None:
    images = [service["image"] for service in _services(ENVIRONMENT).values()]
    images += re.findall(r"^FROM (\S+:\S+)", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)

    assert all(re.fullmatch(r"[a-z-]+:[\w.-]+", image) and not image.endswith(":latest") for image in images), images
    assert {"postgres:16", "redis:7", "python:3.11-slim"} <= set(images)


@pytest.mark.parametrize("name", OURS)
def test_the_settings_in_it_are_understood(name: str) -> None:
    settings = _settings(name)

    assert ("docker", "tuneyard-trainer", ENVIRONMENT["TUNEYARD_TOKEN"]) == (settings.executor, settings.docker_container, settings.token)


def test_api_worker_and_trainer_see_the_training_directory_at_the_same_path() -> None:
    services = _services(ENVIRONMENT)

    mounts = {name: [each for each in services[name]["volumes"] if each.startswith("training:")] for name in (*OURS, "trainer")}

    assert {"training:/training"} == {mount for each in mounts.values() for mount in each}
    assert all(len(each) == 1 for each in mounts.values())
    assert all(_settings(name).training_path == "/training" and not _settings(name).container_training_path for name in OURS)


def test_a_folder_of_ones_own_and_its_owner_take_the_place_of_the_volume() -> None:
    services = _services(ENVIRONMENT | {"HOST_TRAINING_PATH": DEFAULT_TRAINING_PATH, "TRAINING_USER": "2001:2001"})

    for name in (*OURS, "trainer"):
        assert f"{DEFAULT_TRAINING_PATH}:/training" in services[name]["volumes"]
        assert "2001:2001" == services[name]["user"]
    assert "2001:2001" == services["worker"]["environment"]["TUNEYARD_DOCKER_USER"]


def test_the_worker_reaches_the_engine_and_the_trainers_processes() -> None:
    services = _services(ENVIRONMENT)

    worker = services["worker"]

    assert "host" == worker["pid"]
    assert [int(ENVIRONMENT["DOCKER_GID"])] == worker["group_add"]
    assert "/var/run/docker.sock:/var/run/docker.sock" in worker["volumes"]
    assert worker["environment"]["DOCKER_CONTAINER_NAME"] == services["trainer"]["container_name"]
    assert not any("docker.sock" in each for name in ("api", "trainer") for each in services[name].get("volumes", []))


def test_each_host_keeps_its_name_when_its_container_is_made_anew() -> None:
    assert "gpu-1" == _settings("worker").host


def test_what_is_started_is_there() -> None:
    services = _services(ENVIRONMENT)

    _, word = services["worker"]["command"]
    module = services["api"]["command"][-1]

    assert word in root.commands
    assert (REPOSITORY / module / "__main__.py").is_file()
    assert (REPOSITORY / "examples/tiny_trainer" / _settings("worker").start_command.split()[1]).is_file()


def test_the_images_are_made_of_what_is_in_the_repository() -> None:
    text = (REPOSITORY / "Dockerfile").read_text()
    ignore = (REPOSITORY / ".dockerignore").read_text().splitlines()

    copied = [source for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for source in line.split()]

    assert {f"!{source}" for source in copied} == {line for line in ignore if line.startswith("!")}
    assert [] == [source for source in copied if not (REPOSITORY / source).exists()]
    assert {"domain", "infra", "api", "workers", "tuneyard"} <= set(copied)
    assert ignore[1] == "*"
    assert "**/.env" in ignore


def test_every_image_runs_as_a_user_of_its_own_with_packages_that_are_pinned() -> None:
    text = (REPOSITORY / "Dockerfile").read_text()

    stages = dict(re.findall(r"^FROM \S+ AS (\w+)\n(.*?)(?=^FROM|\Z)", text, re.MULTILINE | re.DOTALL))

    targets = {service["build"]["target"] for service in _services(ENVIRONMENT).values() if "build" in service}
    assert {"tuneyard", "trainer"} == targets
    assert all("\nUSER tuneyard\n" in stages[target] for target in targets)
    assert all("--require-hashes" in line or "--no-deps" in line for line in text.splitlines() if line.startswith("RUN pip install"))
    assert "/opt/trainer" == _settings("worker").docker_working_dir
    assert "COPY examples/tiny_trainer /opt/trainer" in stages["trainer"]


def _settings(name: str) -> Settings:
    """The settings of one of our services, as it would read them itself."""
    return load({key: str(value) for key, value in _services(ENVIRONMENT)[name]["environment"].items()})


def _services(environment: dict[str, str]) -> dict[str, Any]:
    """The services with the variables filled in as compose does; KeyError for one that is required and missing."""

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        given = environment.get(name)
        if kind == ":?" and not given:
            raise KeyError(name)
        return given or rest

    text = re.sub(r"\$\{(\w+)(:[?-])([^}]*)\}", value, FILE.read_text())
    assert "$" not in "".join(line for line in text.splitlines() if not line.startswith("#"))
    services: dict[str, Any] = yaml.safe_load(text)["services"]
    return services


def _config(compose: list[str], folder: Path, environment: dict[str, str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """What `config` of this compose says, with an .env of its own; skip where there is no such compose."""
    if not shutil.which(compose[0]) or subprocess.run([*compose, "version"], capture_output=True, check=False).returncode:
        pytest.skip(f"there is no `{' '.join(compose)}` here")
    shutil.copy(FILE, folder)
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in environment.items()))
    kept = {"PATH", "HOME", "DOCKER_CONFIG"}  # nothing of whoever runs this takes the place of what .env says
    outside = {name: value for name, value in os.environ.items() if name in kept}
    return subprocess.run([*compose, "config"], cwd=folder, env=outside, capture_output=True, text=True, check=check)
