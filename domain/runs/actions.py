"""What people may do to a run: launch it, cancel it, tag what it left, say that it is dead."""

import shlex
from datetime import timedelta

from domain.errors import Conflict, Invalid
from domain.events.actions import record
from domain.ids import ArtifactId, ProcessId, RunId, new_id
from domain.processes import actions as processes
from domain.processes.attempt import Attempt
from domain.processes.failure import Failure, FailureClass
from domain.processes.process import Phase, Process
from domain.projects.actions import unknown
from domain.projects.project import Project, name_flaws
from domain.runs import queries
from domain.runs.artifact import Artifact, NewTag
from domain.runs.command import start_argv
from domain.runs.recipe import Recipe
from domain.runs.run import NewRun, Run, RunStatus
from domain.runs.steps import Tx, over, stop


def launch(tx: Tx, project_ref: str, asked: NewRun, recipe: Recipe, *, template: str, resumed_from: ArtifactId | None = None) -> Run:
    """Queue a run with its process: the two rows are the order to start it. Conflict when the name is in use.

    `resumed_from` names the checkpoint that the recipe goes on from.
    """
    project = _counted(tx, project_ref)
    project.require_open()
    run_id = RunId(new_id("run_"))
    argv = start_argv(template, run_id)
    run = Run(
        id=run_id,
        project_id=project.id,
        name=_name(tx, project, asked),
        status=RunStatus.queued,
        model=recipe.model,
        dataset=recipe.dataset,
        hyperparameters=asked.hyperparameters,
        resources=asked.resources,
        priority=asked.priority or 0,
        labels=asked.labels,
        start_command=shlex.join(argv),
        config=recipe.config,
        inputs=recipe.inputs,
        watch=project.watch,
        resumed_from=resumed_from,
        created_at=tx.now,
        updated_at=tx.now,
    )
    tx.runs.add(run)
    tx.processes.add(_process(run, project, argv, recipe.folder))
    told = {"name": run.name, "dataset": run.dataset, "model": run.model}
    record(tx, "run.launched", run.id, project=project.id, **told, **({"resumed_from": resumed_from} if resumed_from else {}))
    tx.place_later()
    return run


def cancel(tx: Tx, project_ref: str, ref: str, *, grace: timedelta) -> Run:
    """Ask a run to stop: a queued one is cancelled at once, a live one when its process has truly ended. Repeating it is a no-op."""
    run = tx.runs.lock(queries.get(tx, project_ref, ref).id)
    if run is None or run.status is RunStatus.cancelled:
        return queries.get(tx, project_ref, ref)
    if run.over:
        message = f"run {run.name} has {run.status} already; there is nothing to cancel"
        raise Conflict(message, run=run.id)
    return stop(tx, run, processes.locked_of(tx, run.id), grace)


def tag(tx: Tx, project_ref: str, ref: str, artifact_id: str, asked: NewTag) -> Artifact:
    """Tag an artifact; the same tag again replaces its notes, and the record keeps every time it was applied."""
    tx.runs.lock(queries.get(tx, project_ref, ref).id)
    artifact = queries.artifact(tx, project_ref, ref, artifact_id).tagged(asked, tx.now)
    tx.artifacts.put(artifact)
    record(tx, "artifact.tagged", artifact.id, project=artifact.project_id, tag=asked.tag, notes=asked.notes)
    tx.tell(artifact.run_id)
    return artifact


def declare_dead(tx: Tx, project_ref: str, ref: str) -> Run:
    """Take an operator's word that a run on a lost host will not come back; Conflict while its host is alive.

    What may still live there is killed by the host's next worker before anything new is placed there.
    """
    run = tx.runs.lock(queries.get(tx, project_ref, ref).id)
    if run is None or run.over or run.host is None:
        message = "only a run that has a host and has not ended can be declared dead"
        raise Conflict(message, run=ref)
    process = processes.locked_of(tx, run.id)
    known = tx.hosts.lock(run.host)
    if known and known[1]:
        message = f"host {run.host} is alive: its worker knows better whether the run lives; cancel the run instead"
        raise Conflict(message, run=run.id)
    tx.hosts.fence(run.host)  # its worker may only be cut off: it must begin anew, and so end what lives there, before it is given more
    processes.end(tx, process)
    reason = (
        f"declared dead by {tx.actor}: host {run.host} has not been heard of since {known[0].lease_until:%Y-%m-%d %H:%M:%S} UTC"
        if known
        else ""
    )
    failure = Failure(failure_class=FailureClass.infrastructure, reason=reason)
    last = Attempt(number=run.attempt, host=run.host, started_at=None, ended_at=tx.now, failure=failure)
    if run.status is RunStatus.cancelling:
        return over(tx, run, RunStatus.cancelled, last, None)
    return over(tx, run, RunStatus.failed, last, failure)


def _counted(tx: Tx, project_ref: str) -> Project:
    project = tx.projects.count_run(project_ref)
    if project is None:
        raise unknown(project_ref)
    return project


def _name(tx: Tx, project: Project, asked: NewRun) -> str:
    if asked.name is None:
        number = project.run_count
        while tx.runs.name_taken(project.id, name := f"run-{number:03}"):
            number += 1
        return name
    if flaws := name_flaws(asked.name):
        message = "the run is not valid: " + "; ".join(f"{flaw.field} {flaw.message}" for flaw in flaws)
        raise Invalid(message, flaws)
    if tx.runs.name_taken(project.id, asked.name):
        message = f"project {project.name} already has a run named {asked.name}"
        raise Conflict(message, run=asked.name)
    return asked.name


def _process(run: Run, project: Project, argv: list[str], folder: str | None) -> Process:
    return Process(
        id=ProcessId(new_id("proc_")),
        owner_id=run.id,
        phase=Phase.waiting,
        argv=argv,
        executor=project.executor,
        resources=run.resources,
        priority=run.priority,
        folder=folder,
        created_at=run.created_at,
        updated_at=run.created_at,
    )
