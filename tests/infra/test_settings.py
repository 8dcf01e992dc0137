"""Settings from the environment: defaults that the documents fix, clear refusals, and secrets that are never printed."""

from pathlib import Path

import pytest

from infra.settings import SettingsError, load, shown

DOCUMENTED = {
    "TRAINING_DB_URL": "sqlite:///./training.db",
    "HOST_TRAINING_PATH": "/data1/qwen2.5-14bxxxx",
    "DOCKER_CONTAINER_NAME": "qwen2.5-14b-instruct_xpytorch_full_sft",
    "DOCKER_WORKING_DIR": "KTIP_Release_2.1.0/train/llm",
    "DOCKER_HOST": "unix:///var/run/docker.sock",
    "TUNEYARD_CONTAINER_TRAINING_PATH": "",
    "TUNEYARD_DOCKER_USER": "",
    "MAX_SMALL_FILE_BYTES": str(64 * 1024 * 1024),
    "MAX_YAML_BYTES": str(1024 * 1024),
    "TUNEYARD_START_COMMAND": "bash run_train_full_sft.sh <training_yaml>",
    "TUNEYARD_PORT": "8000",
    "TUNEYARD_BIND": "127.0.0.1",
}


def test_what_nobody_set_is_what_the_documents_say() -> None:
    lines = dict(line.split("=", 1) for line in shown(load({})))

    assert DOCUMENTED.items() <= lines.items()


def test_what_is_set_is_taken_and_an_empty_value_is_none(tmp_path: Path) -> None:
    settings = load(
        {"TRAINING_DB_URL": "postgresql://db/x", "TUNEYARD_PORT": "9000", "TUNEYARD_SWEEP_SECONDS": "0.5", "REDIS_URL": "", "PATH": "/bin"}
        | {"HOST_TRAINING_PATH": str(tmp_path)}
    )

    assert ("postgresql://db/x", 9000, 0.5, None) == (settings.database_url, settings.port, settings.sweep_seconds, settings.redis_url)
    assert str(tmp_path) == settings.training_path


def test_the_training_directory_is_made_absolute() -> None:
    assert str(Path("data").absolute()) == load({"HOST_TRAINING_PATH": "data"}).training_path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TUNEYARD_PORT", "eighty"),
        ("TUNEYARD_PORT", "0"),
        ("TUNEYARD_PORT", "65536"),
        ("TUNEYARD_SLOTS", "-1"),
        ("TUNEYARD_SWEEP_SECONDS", "0"),
        ("TUNEYARD_SWEEP_SECONDS", "nan"),
        ("TUNEYARD_LEASE_SECONDS", "0"),
        ("MAX_YAML_BYTES", "1.5"),
        ("MAX_SMALL_FILE_BYTES", "-1"),
        ("TUNEYARD_EXECUTOR", "dcoker"),
        ("TUNEYARD_CONTAINER_TRAINING_PATH", "data"),
        ("TUNEYARD_DOCKER_USER", "trainer"),
        ("TUNEYARD_START_COMMAND", "bash 'unclosed <training_yaml>"),
        ("TUNEYARD_START_COMMAND", "   "),
        ("TUNEYARD_SERVE_COMMAND", "   "),
        ("TUNEYARD_SERVE_COMMAND", "other --model <model>"),
        ("TUNEYARD_SERVE_COMMAND", "other <model> <port> <gpu>"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_the_name_of_its_setting(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load({name: value})

    assert name in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_setting_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(SettingsError, match="there is no setting TUNEYARD_SWEEP; known are .*TUNEYARD_SWEEP_SECONDS"):
        load({"TUNEYARD_SWEEP": "3"})


def test_secrets_are_never_shown() -> None:
    secret = "s3cr3t"
    environment = {
        "TUNEYARD_TOKEN": secret,
        "TRAINING_DB_URL": f"postgresql://user:{secret}@db/name",
        "REDIS_URL": f"redis://:{secret}@db/0",
    }

    text = "\n".join(shown(load(environment)))

    assert secret not in text
    assert "TUNEYARD_TOKEN=***" in text
    assert "postgresql://user:***@db/name" in text
