"""What training configs need from the world."""

from datetime import datetime
from typing import Protocol

from domain.ids import ConfigId
from domain.train_configs.train_config import TrainConfig


class TrainConfigs(Protocol):
    """The uploaded configs; what is deleted is never found."""

    def current(self) -> TrainConfig | None:
        """The one behind `/v1/train-config`."""
        ...

    def newest(self, filename: str) -> TrainConfig | None:
        """The newest version of that name."""
        ...

    def versions(self, filename: str) -> list[TrainConfig]:
        """Every version of that name, newest first."""
        ...

    def last_version(self, filename: str) -> int:
        """Number of the newest version ever, deleted ones included; 0 when there was none. Others wait with theirs for this transaction."""
        ...

    def add(self, config: TrainConfig) -> None:
        """Keep a new version; if it is current, no other is any more."""
        ...

    def delete(self, config_id: ConfigId, at: datetime) -> None:
        """Take it out of use; nothing is current unless another is uploaded."""
        ...

    def all(self) -> list[TrainConfig]:
        """The newest version of each name, by name."""
        ...

    def naming_dataset(self, references: list[str]) -> TrainConfig | None:
        """The newest config whose `dataset` is one of these paths."""
        ...


class HasTrainConfigs(Protocol):
    """A transaction that reaches training configs."""

    @property
    def train_configs(self) -> TrainConfigs:
        """The configs."""
        ...
