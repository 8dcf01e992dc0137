"""What runs need from the world."""

from collections.abc import Iterable
from typing import Protocol

from domain.ids import ArtifactId, HostName, ProjectId, RunId
from domain.paging import Listing, Page
from domain.runs.artifact import Artifact, TagName
from domain.runs.run import Metric, Run, RunStatus, RunSummary


class Runs(Protocol):
    """The runs."""

    def find(self, project_ref: str, ref: str) -> Run | None:
        """By id or name, within the project of that id or name."""
        ...

    def get(self, run_id: RunId) -> Run | None:
        """By id alone."""
        ...

    def lock(self, run_id: RunId) -> Run | None:
        """As `get`, and nobody else changes it until the transaction ends."""
        ...

    def name_taken(self, project_id: ProjectId, name: str) -> bool:
        """Whether the project has a run of that name."""
        ...

    def add(self, run: Run) -> None:
        """Keep a new one; Conflict when the project has a run of that name."""
        ...

    def save(self, run: Run) -> None:
        """Keep a changed one; Conflict when the row has meanwhile gone further."""
        ...

    def save_again(self, run: Run) -> None:
        """Keep one that begins its next attempt; Conflict when it is over, or has begun that attempt already."""
        ...

    def resumed_from(self, run_id: RunId) -> list[RunSummary]:
        """The runs that were resumed from a checkpoint of this one, oldest first."""
        ...

    def page(self, project_id: ProjectId, status: RunStatus | None, page: Page) -> Listing[RunSummary]:
        """The runs of a project, newest first."""
        ...


class Metrics(Protocol):
    """Every value the trainers reported."""

    def add(self, metrics: Iterable[Metric]) -> None:
        """Append."""
        ...

    def last_step(self, run_id: RunId) -> int | None:
        """The highest step that was reported."""
        ...

    def history(self, run_id: RunId, name: str | None, since_step: int | None, limit: int) -> list[Metric]:
        """In the order they were reported."""
        ...


class Artifacts(Protocol):
    """What the runs left on disk."""

    def of(self, run_id: RunId) -> list[Artifact]:
        """Oldest first, without their manifests."""
        ...

    def unsummed(self, host: HostName, limit: int) -> list[Artifact]:
        """Those complete ones without sums whose run has ended on this host (or on none), newest first."""
        ...

    def put(self, artifact: Artifact) -> None:
        """Keep a new or changed one."""
        ...

    def find(self, artifact_id: ArtifactId) -> Artifact | None:
        """By id alone."""
        ...

    def tagged(self, project_id: ProjectId, tag: TagName) -> list[Artifact]:
        """Those of a project that bear a tag, without their manifests."""
        ...

    def in_project(self, project_id: ProjectId, artifact_id: str) -> Artifact | None:
        """One of this project's, whichever run left it."""
        ...

    def get(self, run_id: RunId, artifact_id: str) -> Artifact | None:
        """One of this run's."""
        ...


class HasRuns(Protocol):
    """A transaction that reaches runs and what belongs to them."""

    @property
    def runs(self) -> Runs:
        """The runs."""
        ...

    @property
    def metrics(self) -> Metrics:
        """Their metrics."""
        ...

    @property
    def artifacts(self) -> Artifacts:
        """Their artifacts."""
        ...
