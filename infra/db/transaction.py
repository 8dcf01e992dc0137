"""One transaction as the actions see it: the ports of every noun, who acts, and what is to happen after the commit."""

from datetime import UTC, datetime

from msgspec import Struct, field
from sqlalchemy import Connection

from domain.access.principal import Principal
from domain.ids import HostName
from domain.messages import Message
from infra.db.answers import AnswerRows
from infra.db.blobs import BlobRows
from infra.db.datasets import DatasetRows
from infra.db.deployments import DeploymentRows
from infra.db.events import EventRows
from infra.db.gpus import GpuRows
from infra.db.hosts import HostRows
from infra.db.jobs import JobRows
from infra.db.logs import LogRows
from infra.db.processes import ProcessRows
from infra.db.projects import ProjectRows
from infra.db.reports import ReportRows
from infra.db.runs import ArtifactRows, MetricRows, RunRows
from infra.db.train_configs import TrainConfigRows
from infra.db.transfers import TransferRows
from infra.db.usage import UsageRows


class Aftermath(Struct):
    """What a transaction asked for once it is committed."""

    wakes: list[tuple[HostName, Message]] = field(default_factory=list)
    topics: set[str] = field(default_factory=set)
    place: bool = False


class Tx:
    """Every `Tx` protocol of the domain at once."""

    def __init__(self, connection: Connection, who: Principal) -> None:
        self.connection = connection
        self.now = datetime.now(UTC)
        self.actor = who.name
        self.origin = who.origin
        self.aftermath = Aftermath()

    def wake(self, host: HostName, message: Message) -> None:
        """Ring this host after the commit."""
        self.aftermath.wakes.append((host, message))

    def tell(self, topic: str) -> None:
        """Let the followers of this topic look again after the commit."""
        self.aftermath.topics.add(topic)

    def place_later(self) -> None:
        """Look for hosts for what waits, after the commit."""
        self.aftermath.place = True

    @property
    def events(self) -> EventRows:
        """The record."""
        return EventRows(self.connection, self.now, self.actor, self.origin)

    @property
    def answers(self) -> AnswerRows:
        """What repeated requests get again."""
        return AnswerRows(self.connection)

    @property
    def projects(self) -> ProjectRows:
        """The projects."""
        return ProjectRows(self.connection)

    @property
    def datasets(self) -> DatasetRows:
        """The datasets and their files."""
        return DatasetRows(self.connection)

    @property
    def transfers(self) -> TransferRows:
        """The files on their way into a dataset."""
        return TransferRows(self.connection)

    @property
    def blobs(self) -> BlobRows:
        """Which uploaded bytes are needed."""
        return BlobRows(self.connection)

    @property
    def train_configs(self) -> TrainConfigRows:
        """The uploaded configs."""
        return TrainConfigRows(self.connection)

    @property
    def reports(self) -> ReportRows:
        """The reports on data files."""
        return ReportRows(self.connection)

    @property
    def hosts(self) -> HostRows:
        """The hosts."""
        return HostRows(self.connection, self.now)

    @property
    def gpus(self) -> GpuRows:
        """Their GPUs."""
        return GpuRows(self.connection)

    @property
    def processes(self) -> ProcessRows:
        """The processes."""
        return ProcessRows(self.connection, self.now)

    @property
    def logs(self) -> LogRows:
        """Their stored output."""
        return LogRows(self.connection)

    @property
    def runs(self) -> RunRows:
        """The runs."""
        return RunRows(self.connection)

    @property
    def deployments(self) -> DeploymentRows:
        """The deployments."""
        return DeploymentRows(self.connection)

    @property
    def jobs(self) -> JobRows:
        """The jobs."""
        return JobRows(self.connection)

    @property
    def metrics(self) -> MetricRows:
        """What the trainers measured."""
        return MetricRows(self.connection)

    @property
    def artifacts(self) -> ArtifactRows:
        """What the runs left on disk."""
        return ArtifactRows(self.connection)

    @property
    def usages(self) -> UsageRows:
        """What was asked of the models."""
        return UsageRows(self.connection)
