"""Jobs over HTTP: personal data taken out of a dataset in the background, watched, cancelled, and what was set aside."""

import asyncio
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import Provide
from litestar.params import FromPath, HeaderParameter, JSONBody, QueryParameter
from litestar.status_codes import HTTP_200_OK, HTTP_202_ACCEPTED
from msgspec import Struct
from msgspec.structs import asdict

from api.follow import until, wanted_wait
from api.once import RESPONSE_HEADERS, RESPONSES, TheOnce, provide_once
from api.provide import Caller, TheCaller, WantedPage, paged
from domain.ids import DatasetId, HostName, JobId
from domain.jobs import actions
from domain.jobs.job import BadLines, Done, Job, JobStatus, NewDeidentification
from domain.processes.failure import Failure
from infra.files.folder import folder_id


class JobDetail(Struct, frozen=True, kw_only=True):
    """A job as it is shown."""

    id: JobId
    dataset_id: DatasetId
    status: JobStatus
    status_label: str
    attempt: int
    progress: float
    policy_id: str
    policy_revision: str
    key_id: str
    seed: int | None
    bad_lines: BadLines
    version: int | None
    """The version of the dataset that it made."""
    found: dict[str, int]
    """Type → how many, over all files."""
    files: list[Done]
    """What became of each file: counts and numbers of lines, never what was found."""
    host: HostName | None
    failure: Failure | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class DeidentificationController(Controller):
    """Personal data taken out of a dataset."""

    path = "/v1/datasets/{ref:str}/deidentify"
    tags = ("deid",)
    dependencies = {"once": Provide(provide_once)}  # noqa: RUF012 - as Litestar declares it

    @post(status_code=HTTP_202_ACCEPTED, responses=RESPONSES, response_headers=RESPONSE_HEADERS)
    async def deidentify_dataset(
        self, caller: TheCaller, once: TheOnce, ref: FromPath[str], data: JSONBody[NewDeidentification | None] = None
    ) -> Response[JobDetail]:
        """Order that personal data be taken out of a dataset.

        It has its next version when the job has succeeded; what it had stays readable.
        """
        if earlier := await once.earlier():
            return earlier.response()
        asked = data or NewDeidentification()
        order = partial(actions.deidentify, ref=ref, asked=asked, frozen=await asyncio.to_thread(_frozen, caller, asked.policy_id))
        language = caller.language
        return (await once.run(order, lambda job: msgspec.json.encode(job_detail(job, language)), HTTP_202_ACCEPTED)).response()


class JobController(Controller):
    """What people may do with jobs."""

    path = "/v1/jobs"
    tags = ("jobs",)

    @get()
    async def list_jobs(
        self,
        request: Request[Any, Any, Any],
        caller: TheCaller,
        wanted_page: WantedPage,
        dataset: Annotated[str | None, QueryParameter(description="Only of this dataset, by id or name.")] = None,
    ) -> Response[list[JobDetail]]:
        """List jobs, newest first."""
        found = await caller.db.read(actions.list_jobs, dataset, wanted_page)
        return paged(request, found, wanted_page, [job_detail(job, caller.language) for job in found.items])

    @get("/{job:str}")
    async def get_job(
        self,
        caller: TheCaller,
        job: FromPath[str],
        prefer: Annotated[str | None, HeaderParameter(name="Prefer", description="`wait=N` seconds (RFC 7240) for its end.")] = None,
    ) -> JobDetail:
        """Show a job: how far it is, or what came of it."""
        if prefer:
            await _wait(caller, job, prefer)
        return job_detail(await caller.db.read(actions.get, job), caller.language)

    @post("/{job:str}/cancel", status_code=HTTP_200_OK)
    async def cancel_job(
        self,
        caller: TheCaller,
        job: FromPath[str],
        prefer: Annotated[str | None, HeaderParameter(name="Prefer", description="`wait=N` seconds (RFC 7240); 10 unless said.")] = None,
    ) -> Response[JobDetail]:
        """Stop a job; the dataset stays as it was. 200 once it has ended, 202 while it is still stopping."""
        await caller.db.run(actions.cancel, job, grace=timedelta(seconds=caller.world.settings.grace_seconds))
        await _wait(caller, job, prefer)
        found = await caller.db.read(actions.get, job)
        return Response(job_detail(found, caller.language), status_code=HTTP_200_OK if found.over else HTTP_202_ACCEPTED)


def _frozen(caller: Caller, policy_id: str) -> actions.Frozen:
    """Freeze a policy as it is now; NotFound, or Conflict when this server has no key for it."""
    world = caller.world
    recipe = world.deid.recipe(policy_id, None)
    return actions.Frozen(
        policy_revision=world.deid.shelf.get(policy_id).revision,
        policy=msgspec.json.encode(recipe.policy).decode(),
        key_id=world.deid.key.id,
        folder=folder_id(world.store.root),
    )


def job_detail(job: Job, language: str) -> JobDetail:
    """Return a job as it is shown."""
    facts = asdict(job)
    shown = {name: facts[name] for name in JobDetail.__struct_fields__ if name in facts}
    found: dict[str, int] = {}
    for each in job.done:
        for kind, fields in each.found.items():
            found[kind] = found.get(kind, 0) + sum(fields.values())
    return JobDetail(**shown, status_label=job.status.label(language), found=found, files=job.done)


async def _wait(caller: Caller, job: str, prefer: str | None) -> None:
    async def over() -> bool:
        return (await caller.db.read(actions.get, job)).over

    await until(caller.world.news, job, wanted_wait(prefer), over)
