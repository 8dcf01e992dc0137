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


def list_configs(tx: Tx) -> list[TrainConfig]:
    """Return the newest version of each name."""
    return tx.train_configs.all()


def delete_current(tx: Tx) -> TrainConfig:
    """Take the current config out of use; runs keep what they froze."""
    config = current(tx)
    tx.train_configs.delete(config.id, tx.now)
    record(tx, "train_config.deleted", config.id, filename=config.filename, version=config.version)
    return config


def resolve(tx: Tx, path: str) -> TrainConfig | None:
    """Return the uploaded config that `configs/<filename>` names; None when no upload goes by it."""
    return tx.train_configs.newest(path.removeprefix(FOLDER)) if path.startswith(FOLDER) else None
