"""A training config is an uploaded YAML whose every version stays; a run freezes the values it was launched with."""

from datetime import datetime
from typing import Any

from msgspec import Struct

from domain.ids import ConfigId

FOLDER = "configs/"
"""An uploaded config goes by `configs/<filename>`."""


class TrainConfig(Struct, frozen=True, kw_only=True):
    """One version of one uploaded YAML."""

    id: ConfigId
    filename: str
    version: int
    sha256: str
    size: int
    values: dict[str, Any]
    """What the YAML says, read with the numbers of YAML 1.2."""
    uploaded_at: datetime
    deleted_at: datetime | None = None
    current: bool
    """Whether it is the one behind the documented `/v1/train-config`."""
