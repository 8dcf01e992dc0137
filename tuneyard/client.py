"""The HTTP API as Python calls: answers are the API's JSON, and what goes wrong is an error that a person can read.

    with Client() as tuneyard:
        run = tuneyard.launch("my-project", hyperparameters={"num_epochs": 3})
        for line in tuneyard.follow("my-project", run["name"]):
            print(line["message"])

What no server answers is sent again, for a short time, where that is safe: launch, cancel and resume carry a key by which the server
knows them again, so that each is done once. A follower whose connection breaks goes on where it was. Nothing else is repeated.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tuneyard.answers import Artifact, Dataset, Host, Json, Line, LogPage, Metric, Project, Run
from tuneyard.connection import ApiError, Connection, TuneyardError, Unreachable, path_of
from tuneyard.download import WrongSum, download
from tuneyard.upload import Told, WrongBytes, check, send

DEPLOYMENT_SECONDS = 90.0
"""The server waits for a model to load, or to finish its requests, for a minute at most."""
OVER = frozenset({"succeeded", "failed", "cancelled"})
"""The states that a run never leaves."""
SMALL_BYTES = 64 * 2**20
"""What a server takes in one piece, unless its MAX_SMALL_FILE_BYTES says otherwise."""


class Client(Connection):
    """One server; its address and token come from TUNEYARD_URL and TUNEYARD_TOKEN unless given. `timeout` is in seconds, per answer."""

    def health(self) -> Json:
        """How the machinery is: database, queue, hosts, and how many trainings live."""
        health: Json = self.call("GET", "/_internal/health")
        return health

    def ready(self) -> bool:
        """Whether the server can serve now; False also when nobody answers."""
        try:
            self.call("GET", "/readyz")
        except TuneyardError:
            return False
        return True

    def projects(self, *, limit: int | None = None, **wanted: str) -> list[Project]:
        """Projects, newest first; `wanted` filters: status, tag, owner, q."""
        return self._pages("/projects", limit, wanted)

    def project(self, ref: str) -> Project:
        """The project of that id or name."""
        project: Project = self.call("GET", path_of("projects", ref))
        return project

    def create_project(self, name: str, **fields: Any) -> Project:  # noqa: ANN401 - the API's fields
        """Create a project; every other field of the API may be given by name."""
        project: Project = self.call("POST", "/projects", json={"name": name, **fields})
        return project

    def datasets(self, *, limit: int | None = None) -> list[Dataset]:
        """Datasets with their files, newest first."""
        return self._pages("/v1/datasets", limit, {})

    def dataset(self, ref: str) -> Dataset:
        """The dataset of that id or name."""
        dataset: Dataset = self.call("GET", path_of("v1", "datasets", ref))
        return dataset

    def create_dataset(self, name: str, **fields: Any) -> Dataset:  # noqa: ANN401 - the API's fields
        """Register a dataset; `type`, `description`, `task_type` and `metadata` may be given."""
        dataset: Dataset = self.call("POST", "/v1/datasets", json={"name": name, **fields})
        return dataset

    def push_file(self, dataset_id: str, file: Path, *, replace: bool = False, told: Told | None = None) -> Json:
        """Upload a file into a dataset: a large one by parts, so that what breaks off goes on; `told` hears how far it has come."""
        path = path_of("v1", "datasets", dataset_id)
        try:
            size = file.stat().st_size
            if size <= SMALL_BYTES:
                return self.upload(f"{path}/files{'?replace=true' if replace else ''}", file)
            with self._said_plainly("pushed again, it goes on from there"):
                sent = send(self._http, f"{path}/uploads", file, replace=replace, told=told or (lambda *_: None))
            (found,) = (each for each in self.dataset(dataset_id).get("files", []) if each["upload_id"] == sent["upload_id"])
            check(file, found["sha256"])
        except WrongBytes as wrong:
            raise TuneyardError(str(wrong)) from None
        except OSError as problem:
            raise TuneyardError(f"{file} cannot be read: {problem.strerror}") from problem
        return {"upload_id": found["upload_id"], "dataset_id": sent["dataset_id"], "bytes": found["bytes"], "filename": found["name"]}

    def push_dataset(
        self,
        file: Path,
        name: str | None = None,
        *,
        replace: bool = False,
        told: Told | None = None,
        **fields: Any,  # noqa: ANN401 - the API's fields
    ) -> Json:
        """Upload a file into the dataset of that name (else the file's), which is made if need be; `path` is what a project calls it."""
        name = name or file.stem
        try:
            dataset_id = self.create_dataset(name, **fields)["id"]
        except ApiError as refused:
            if refused.status != httpx.codes.CONFLICT:
                raise
            dataset_id = self.dataset(name)["id"]
        return self.push_file(dataset_id, file, replace=replace, told=told) | {"path": f"datasets/{name}/{file.name}"}

    def dataset_versions(self, ref: str, *, limit: int | None = None) -> list[Json]:
        """Every change of a dataset's files, newest first."""
        return self._pages(path_of("v1", "datasets", ref, "versions"), limit, {})

    def preview(self, ref: str, **wanted: str | int) -> Json:
        """Some lines of a data file; `wanted` may hold file, mode (first, random, problems) and n."""
        found: Json = self.call("GET", path_of("v1", "datasets", ref, "preview"), params=wanted)
        return found

    def delete_dataset(self, ref: str) -> Json:
        """Delete a dataset that no project and no living run uses."""
        found: Json = self.call("DELETE", path_of("v1", "datasets", ref))
        return found

    def deidentify(self, dataset: str, **asked: Any) -> Json:  # noqa: ANN401 - the API's fields
        """Order that personal data be taken out of a dataset; `policy_id`, `seed`, `bad_lines` and `files` may be given."""
        ordered: Json = self._once(path_of("v1", "datasets", dataset, "deidentify"), json=asked)
        return ordered

    def jobs(self, *, limit: int | None = None, **wanted: str) -> list[Json]:
        """Jobs on datasets, newest first; `wanted` filters: dataset."""
        return self._pages("/v1/jobs", limit, wanted)

    def job(self, job: str) -> Json:
        """One job, with its report once it has ended."""
        found: Json = self.call("GET", path_of("v1", "jobs", job))
        return found

    def cancel_job(self, job: str) -> Json:
        """Stop a job; `cancelled` when it has ended within ten seconds, else `cancelling`."""
        found: Json = self.call("POST", path_of("v1", "jobs", job, "cancel"))
        return found

    def wait_for_job(self, job: str) -> Iterator[Json]:
        """Give the job again and again, about twice a second, the last time when it is over."""
        while True:
            found = self.job(job)
            yield found
            if found["finished_at"]:
                return
            time.sleep(0.4)

    def configs(self) -> list[Json]:
        """The newest version of each training config."""
        configs: list[Json] = self.call("GET", "/v1/train-configs")
        return configs

    def config_versions(self, filename: str) -> list[Json]:
        """Every version of a training config with its values, newest first."""
        found: list[Json] = self.call("GET", path_of("v1", "train-configs", filename, "versions"))
        return found

    def config_diff(self, filename: str, *, before: int | None = None, after: int | None = None) -> Json:
        """What differs between two versions of a training config: `values`, and `text` as `diff -u` says it."""
        versions = {name: version for name, version in (("from", before), ("to", after)) if version is not None}
        found: Json = self.call("GET", path_of("v1", "train-configs", filename, "diff"), params=versions)
        return found

    def push_config(self, file: Path) -> Json:
        """Upload a training config; a project calls it `configs/<file name>`."""
        return self.upload("/v1/train-config", file)

    def launch(self, project: str, **body: Any) -> Run:  # noqa: ANN401 - the API's fields
        """Start a run: name, model, dataset, hyperparameters, resources, priority, labels; nothing is required."""
        launched: Run = self._once(path_of("projects", project, "runs"), json=body)
        return launched

    def check(self, project: str, **body: Any) -> Json:  # noqa: ANN401 - the API's fields
        """Say what a launch with this body would meet: problems, warnings, the effective config, estimates; nothing is written."""
        found: Json = self.call("POST", path_of("projects", project, "runs"), params={"dry_run": "true"}, json=body)
        return found

    def report(self, dataset: str, **wanted: str | int) -> Json:
        """Return what an inspection of a dataset's file found; `wanted` may hold file, task_type and max_seq_length."""
        found: Json = self.call("GET", path_of("v1", "datasets", dataset, "report"), params=wanted)
        return found

    def cancel(self, project: str, run: str, *, force: bool = False) -> Run:
        """Stop a run and keep its newest complete checkpoint; `cancelled` when it has ended within ten seconds, else `cancelling`."""
        path = path_of("projects", project, "runs", run, "cancel")
        cancelled: Run = self._once(path, params={"force": "true"} if force else None)
        return cancelled

    def resume(self, project: str, run: str, checkpoint: str, **body: Any) -> Run:  # noqa: ANN401 - the API's fields
        """Start a new run that goes on from a checkpoint; the body's values go over those of the source run."""
        path = path_of("projects", project, "runs", run, "resume")
        resumed: Run = self._once(path, params={"source_artifact_id": checkpoint}, json=body)
        return resumed

    def declare_dead(self, project: str, run: str) -> Run:
        """Say that a run on a lost host will not come back."""
        found: Run = self.call("POST", path_of("projects", project, "runs", run, "declare-dead"))
        return found

    def hosts(self) -> list[Host]:
        """The hosts with their GPUs."""
        found: list[Host] = self.call("GET", "/v1/hosts")
        return found

    def drain(self, host: str) -> Host:
        """Let nothing new be placed on a host."""
        found: Host = self.call("POST", path_of("v1", "hosts", host, "drain"))
        return found

    def undrain(self, host: str) -> Host:
        """Let a host be used again."""
        found: Host = self.call("POST", path_of("v1", "hosts", host, "undrain"))
        return found

    def return_gpu(self, host: str, number: int) -> Host:
        """Give a GPU again that was set aside."""
        found: Host = self.call("POST", path_of("v1", "hosts", host, "gpus", str(number), "return"))
        return found

    def deploy(self, model_path: str, *, wait: int | None = None, **body: Any) -> Json:  # noqa: ANN401 - the API's fields
        """Serve a model; with `wait` the answer comes when it answers or has failed, or after so many seconds."""
        headers = {} if wait is None else {"Prefer": f"wait={wait}"}
        body = {"model_path": model_path, **body}
        found: Json = self.call("POST", "/deployments", json=body, headers=headers, timeout=DEPLOYMENT_SECONDS)
        return found

    def deployments(self, **wanted: str) -> list[Json]:
        """Deployments, newest first; `wanted` filters: model, tag, status."""
        return self._pages("/deployments", None, wanted)

    def deployment(self, deployment_id: str) -> Json:
        """One deployment, removed or not."""
        found: Json = self.call("GET", path_of("deployments", deployment_id))
        return found

    def deployment_log(self, deployment_id: str, *, page: int = 1, page_size: int = 500) -> LogPage:
        """A page of what its server said."""
        found: LogPage = self.call("GET", path_of("deployments", deployment_id, "logs"), params={"page": page, "page_size": page_size})
        return found

    def undeploy(self, deployment_id: str, *, force: bool = False) -> Json:
        """Stop a deployment, and wait until nothing of it lives; refused (409) when it does not stop and may not be killed."""
        params = {"force": "true"} if force else None
        found: Json = self.call("DELETE", path_of("deployments", deployment_id), params=params, timeout=DEPLOYMENT_SECONDS)
        return found

    def runs(self, project: str, *, limit: int | None = None, **wanted: str) -> list[Run]:
        """Return the runs of a project, newest first; `wanted` filters: status."""
        return self._pages(path_of("projects", project, "runs"), limit, wanted)

    def run(self, project: str, run: str) -> Run:
        """One run, with its latest metrics and its artifacts."""
        found: Run = self.call("GET", path_of("projects", project, "runs", run))
        return found

    def artifacts(self, project: str, run: str) -> list[Artifact]:
        """What a run left on disk."""
        items: list[Artifact] = self.call("GET", path_of("projects", project, "runs", run, "artifacts"))["items"]
        return items

    def fetch(self, project: str, run: str, artifact: str, output: Path = Path()) -> Path:
        """Fetch a complete artifact into a file or an existing folder: a file as it is, checked by its sum, a folder as a tar."""
        path = path_of("projects", project, "runs", run, "artifacts", artifact, "content")
        try:
            with self._said_plainly("fetched again, it goes on from there"):
                return download(self._http, path, output)
        except WrongSum as wrong:
            raise TuneyardError(str(wrong)) from None
        except OSError as problem:
            raise TuneyardError(f"{output} cannot be written: {problem.strerror}") from problem

    def metrics(self, project: str, run: str, **wanted: str | int) -> list[Metric]:
        """The history of a run's metrics; `wanted` may hold name and since_step. One answer holds 10,000 values, the oldest."""
        items: list[Metric] = self.call("GET", path_of("projects", project, "runs", run, "metrics"), params=wanted)["items"]
        return items

    def log_page(self, project: str, run: str, **wanted: str | int) -> LogPage:
        """One page of a log; `wanted` may hold page, page_size, start_time and end_time."""
        page: LogPage = self.call("GET", path_of("projects", project, "runs", run, "logs"), params=wanted)
        return page

    def follow(self, project: str, run: str, *, after: int | None = None, patience: float = 60.0) -> Iterator[Line]:
        """Each line of a log as it comes, from the first (or the one after line number `after`), until the run is over.

        A broken stream is taken up again where it broke; Unreachable after `patience` seconds in which no server answered.
        """
        path = path_of("projects", project, "runs", run, "logs", "stream")
        heard, pause = time.monotonic(), 0.1
        while True:
            try:
                for event, line in self._stream(path, after):
                    heard = time.monotonic()
                    if event == "open":
                        continue
                    pause = 0.1
                    if event == "end":
                        return
                    if line:
                        after = line.get("number", after)
                        yield line
            except Unreachable:
                if time.monotonic() - heard > patience:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def wait(self, project: str, run: str, *, patience: float = 60.0) -> Iterator[Run]:
        """Give the run again and again, about twice a second, the last time when it is over; Unreachable as `follow`."""
        heard = time.monotonic()
        while True:
            try:
                found = self.run(project, run)
            except Unreachable:
                if time.monotonic() - heard > patience:
                    raise
            else:
                heard = time.monotonic()
                yield found
                if found["status"] in OVER:
                    return
            time.sleep(0.4)
