"""Training configs as rows."""

from datetime import datetime

from sqlalchemy import bindparam, func, select, text, update

from domain.ids import ConfigId
from domain.train_configs.train_config import TrainConfig
from infra.db.driver import fixed
from infra.db.rows import Rows
from infra.db.tables import TRAIN_CONFIGS

_C = TRAIN_CONFIGS.c
_USABLE = select(*TRAIN_CONFIGS.columns).where(_C.deleted_at.is_(None))
_OF_NAME = _USABLE.where(_C.filename == bindparam("filename")).order_by(_C.version.desc())
_VERSIONS = fixed(_OF_NAME)
_NAMED = fixed(_OF_NAME.limit(1))
_UPLOAD_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('tuneyard.train_config'))")


class TrainConfigRows(Rows[TrainConfig]):
    """The port `TrainConfigs`."""

    stored = TRAIN_CONFIGS

    def current(self) -> TrainConfig | None:
        """The one behind `/v1/train-config`."""
        return self.one(_USABLE.where(_C.current))

    def newest(self, filename: str) -> TrainConfig | None:
        """The newest version of that name."""
        return self.one(_NAMED, filename=filename)

    def versions(self, filename: str) -> list[TrainConfig]:
        """Newest first."""
        return self.many(_VERSIONS, filename=filename)

    def last_version(self, filename: str) -> int:
        """Deleted ones count; one upload at a time."""
        if self.connection.dialect.name == "postgresql":
            self.connection.execute(_UPLOAD_LOCK)
        return self.connection.scalar(select(func.max(_C.version)).where(_C.filename == filename)) or 0

    def add(self, config: TrainConfig) -> None:
        """Insert; it alone is current."""
        self.connection.execute(update(TRAIN_CONFIGS.table).where(_C.current).values(current=False))
        self.insert(config)

    def delete(self, config_id: ConfigId, at: datetime) -> None:
        """Take it, and its older versions, out of use."""
        name = select(_C.filename).where(_C.id == config_id).scalar_subquery()
        self.connection.execute(
            update(TRAIN_CONFIGS.table).where(_C.filename == name, _C.deleted_at.is_(None)).values(current=False, deleted_at=at)
        )

    def all(self) -> list[TrainConfig]:
        """The newest version of each name, by name."""
        newest = select(_C.filename, func.max(_C.version).label("version")).where(_C.deleted_at.is_(None)).group_by(_C.filename).subquery()
        return self.many(_USABLE.join(newest, (_C.filename == newest.c.filename) & (_C.version == newest.c.version)).order_by(_C.filename))

    def naming_dataset(self, references: list[str]) -> TrainConfig | None:
        """The newest config whose `dataset` is one of these."""
        configs = [config for config in self.all() if config.values.get("dataset") in references]
        return max(configs, key=lambda config: config.uploaded_at, default=None)
