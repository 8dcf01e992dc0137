"""What people may do to training configs: upload, read, delete, find by path."""

from typing import Any, Protocol

from domain.database import Transaction
from domain.errors import NotFound
from domain.events.actions import record
from domain.events.ports import HasEvents
from domain.files import Kept
from domain.ids import ConfigId, new_id
from domain.train_configs.ports import HasTrainConfigs
from domain.train_configs.train_config import FOLDER, TrainConfig


class Tx(Transaction, HasTrainConfigs, HasEvents, Protocol):
    """What the actions on configs may touch."""


def upload(tx: Tx, kept: Kept, values: dict[str, Any]) -> TrainConfig:
    """Keep a checked YAML as the next version of its name, and make it the current one."""
    config = TrainConfig(
        id=ConfigId(new_id("cfg_")),
        filename=kept.name,
        version=tx.train_configs.last_version(kept.name) + 1,
        sha256=kept.sha256,
        size=kept.size_bytes,
        values=values,
        uploaded_at=tx.now,
        current=True,
    )
    tx.train_configs.add(config)
    record(tx, "train_config.uploaded", config.id, filename=config.filename, version=config.version, sha256=config.sha256)
    return config


def current(tx: Tx) -> TrainConfig:
    """Return the config behind `/v1/train-config`; NotFound when there is none."""
    config = tx.train_configs.current()
    if config is None:
        message = "no training config is uploaded; PUT a .yaml file to /v1/train-config"
        raise NotFound(message)
    return config


def get(tx: Tx, filename: str) -> TrainConfig:
    """Return the newest version of that name; NotFound otherwise."""
    config = tx.train_configs.newest(filename)
    if config is None:
        message = f"there is no training config {filename}"
        raise NotFound(message, filename=filename)
    return config


def versions(tx: Tx, filename: str) -> list[TrainConfig]:
    """Return every version of that name, newest first; NotFound when there is none."""
    get(tx, filename)
    return tx.train_configs.versions(filename)


def version(tx: Tx, filename: str, number: int | None) -> TrainConfig:
    """Return one version of that name, the newest unless a number is given; NotFound when there is none."""
    found = versions(tx, filename)
    for config in found:
        if number in (None, config.version):
            return config
    message = f"training config {filename} has no version {number}; its newest is {found[0].version}"
    raise NotFound(message, filename=filename)


def list_configs(tx: Tx) -> list[TrainConfig]:
    """Return the newest version of each name."""
    return tx.train_configs.all()


def delete_current(tx: Tx) -> TrainConfig:
    """Take the current config out of use; runs keep what they froze."""
    return delete(tx, current(tx).filename)


def delete(tx: Tx, filename: str) -> TrainConfig:
    """Take every version of that name out of use; runs keep what they froze."""
    config = get(tx, filename)
    tx.train_configs.delete(config.id, tx.now)
    record(tx, "train_config.deleted", config.id, filename=config.filename, version=config.version)
    return config


def resolve(tx: Tx, path: str) -> TrainConfig | None:
    """Return the uploaded config that `configs/<filename>` names; None when no upload goes by it."""
    return tx.train_configs.newest(path.removeprefix(FOLDER)) if path.startswith(FOLDER) else None
