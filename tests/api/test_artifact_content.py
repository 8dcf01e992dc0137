"""What a run left, over HTTP: its bytes, any part of them, and never more of them in memory than a chunk."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from domain.runs.artifact import Artifact, ArtifactType, FileSum, Summed
from domain.runs.run import Run, RunStatus
from infra.settings import Settings
from tests.api.test_runs import furnish
from tests.contracts.databases import keep, opened
from tests.house import House, eventually
from tests.things import AT, a_project, a_run, an_artifact
from tuneyard.client import Client
from tuneyard.connection import TuneyardError

FILES = {
    "checkpoint-20/model.safetensors": bytes(range(256)) * 40,
    "checkpoint-20/状态.json": b"{}",
    "eval_results.json": b'{"bleu": 32.5}',
}
MIB = 2**20


def left(training: Path, run: Run, **files: bytes) -> None:
    """Write what a run left."""
    for path, content in files.items():
        place = training / run.folder / "output" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def artifact(training: Path, run: Run, kind: ArtifactType, path: str, size: int) -> Artifact:
    facts = {"name": path, "type": kind, "size_bytes": size}
    return an_artifact(run, f"{training}/{run.folder}/output/{path}".lstrip("/"), **facts)


def with_sums(found: Artifact, files: dict[str, bytes]) -> Artifact:
    sums = [FileSum(path=path, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest()) for path, content in files.items()]
    return found.summed(Summed(manifest=sums), AT)


@pytest.fixture
async def run(api: httpx.AsyncClient, settings: Settings) -> Run:
    """A run `r` of a project `p` that has left a checkpoint with sums, an evaluation without, and half a checkpoint."""
    assert (await api.get("/projects")).is_success
    project = a_project("p")
    run = a_run(project.id, "r", status=RunStatus.succeeded, host="gpu-1")
    training = Path(settings.training_path)
    left(training, run, **FILES)
    checkpoint = with_sums(
        artifact(training, run, ArtifactType.checkpoint, "checkpoint-20", 10242),
        {path.partition("/")[2]: content for path, content in FILES.items() if path.startswith("checkpoint-20/")},
    )
    evaluation = artifact(training, run, ArtifactType.evaluation, "eval_results.json", 14)
    half = replace(artifact(training, run, ArtifactType.checkpoint, "checkpoint-40", 1), complete=False, missing="no weights are there")
    async with opened(settings.database_url) as db:
        await db.run(keep, project, run, checkpoint, evaluation, half)
    return run


@pytest.fixture
async def address(api: httpx.AsyncClient, run: Run) -> Callable[[str], str]:
    """Where an artifact is, by its name."""
    items = (await api.get(f"/projects/p/runs/{run.id}/artifacts")).json()["items"]
    ids = {item["name"]: item["id"] for item in items}
    return lambda name: f"/projects/p/runs/r/artifacts/{ids[name]}"


async def test_a_list_shows_the_sum_and_one_artifact_its_manifest(api: httpx.AsyncClient, run: Run, address: Callable[[str], str]) -> None:
    listed = (await api.get(f"/projects/p/runs/{run.id}/artifacts")).json()["items"]
    shown = (await api.get(address("checkpoint-20"))).json()
    unsummed = (await api.get(address("eval_results.json"))).json()
    detail = (await api.get("/projects/p/runs/r")).json()

    lines = "".join(f"{file['sha256']}  {file['path']}\n" for file in shown["manifest"])
    assert ["model.safetensors", "状态.json"] == [file["path"] for file in shown["manifest"]]
    assert hashlib.sha256(lines.encode()).hexdigest() == shown["sha256"]
    assert (None, []) == (unsummed["sha256"], unsummed["manifest"])
    assert detail["artifacts"] == listed
    assert {None, shown["sha256"]} == {item["sha256"] for item in listed}
    assert not [item for item in listed if "manifest" in item]


async def test_a_file_is_given_whole_and_in_parts(api: httpx.AsyncClient, address: Callable[[str], str]) -> None:
    path = f"{address('checkpoint-20')}/content?path=model.safetensors"
    content = FILES["checkpoint-20/model.safetensors"]

    whole = await api.get(path)
    head = await api.head(path)

    etag = f'"{hashlib.sha256(content).hexdigest()}"'
    assert (200, content, etag, "10240", "bytes") == (
        whole.status_code,
        whole.content,
        *(whole.headers[name] for name in ("ETag", "Content-Length", "Accept-Ranges")),
    )
    assert (200, b"", dict(whole.headers)) == (head.status_code, head.content, dict(head.headers))
    parts = {
        "bytes=0-0": (0, 1),
        "bytes=100-": (100, 10240),
        "bytes=-7": (10233, 10240),
        "bytes=9-99999": (9, 10240),
        "bytes=-99999": (0, 10240),
    }
    for asked, (start, stop) in parts.items():
        part = await api.get(path, headers={"Range": asked, "If-Range": etag})

        assert (206, f"bytes {start}-{stop - 1}/10240") == (part.status_code, part.headers["Content-Range"]), asked
        assert content[start:stop] == part.content, asked


@pytest.mark.parametrize("asked", ["bytes=10240-", "bytes=99999-100000", "bytes=-0"])
async def test_a_range_behind_the_end_is_refused(api: httpx.AsyncClient, address: Callable[[str], str], asked: str) -> None:
    refused = await api.get(f"{address('checkpoint-20')}/content?path=model.safetensors", headers={"Range": asked})

    assert (416, "bytes */10240") == (refused.status_code, refused.headers["Content-Range"])
    assert "application/problem+json" == refused.headers["Content-Type"]


@pytest.mark.parametrize(
    "asked", ["bytes=5-2", "bytes=-", "bytes=a-b", "lines=0-1", "bytes=0-1,4-5", "bytes=0-1 ", "bytes=" + "9" * 40 + "-"]
)
async def test_a_range_that_is_none_gives_the_whole(api: httpx.AsyncClient, address: Callable[[str], str], asked: str) -> None:
    answer = await api.get(f"{address('eval_results.json')}/content", headers={"Range": asked})

    assert (200, FILES["eval_results.json"]) == (answer.status_code, answer.content)


async def test_a_part_of_what_has_changed_is_not_given(api: httpx.AsyncClient, address: Callable[[str], str]) -> None:
    for name, status in (("checkpoint-20", 200), ("eval_results.json", 200)):  # the second has no sum that could be compared
        answer = await api.get(f"{address(name)}/content", headers={"Range": "bytes=1-", "If-Range": '"of-yesterday"'})

        assert status == answer.status_code


async def test_a_folder_is_given_as_a_tar(api: httpx.AsyncClient, address: Callable[[str], str]) -> None:
    path = f"{address('checkpoint-20')}/content"

    whole = await api.get(path)
    part = await api.get(path, headers={"Range": "bytes=700-", "If-Range": whole.headers["ETag"]})

    assert "attachment; filename=\"r-checkpoint-20.tar\"; filename*=UTF-8''r-checkpoint-20.tar" == whole.headers["Content-Disposition"]
    with tarfile.open(fileobj=io.BytesIO(whole.content)) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert {f"r-{name}": content for name, content in FILES.items() if name.startswith("checkpoint")} == members
    assert whole.content[700:] == part.content


async def test_a_chinese_name_arrives_in_utf_8(api: httpx.AsyncClient, address: Callable[[str], str]) -> None:
    answer = await api.get(f"{address('checkpoint-20')}/content", params={"path": "状态.json"})

    said = "attachment; filename=\"__.json\"; filename*=UTF-8''%E7%8A%B6%E6%80%81.json"
    assert (b"{}", said) == (answer.content, answer.headers["Content-Disposition"])


@pytest.mark.parametrize(
    ("name", "query", "status", "words"),
    [
        ("checkpoint-40", "", 409, "not complete: no weights are there"),
        ("checkpoint-20", "?path=../eval_results.json", 400, "'..' are not followed"),
        ("checkpoint-20", "?path=%2Fetc%2Fpasswd", 400, "absolute"),
        ("checkpoint-20", "?path=optimizer.pt", 404, "no file optimizer.pt"),
    ],
)
async def test_what_is_not_given_says_why(
    api: httpx.AsyncClient, address: Callable[[str], str], name: str, query: str, status: int, words: str
) -> None:
    refused = await api.get(f"{address(name)}/content{query}")

    assert status == refused.status_code
    assert words in refused.json()["detail"]


async def test_files_on_another_host_are_named_with_it(
    api: httpx.AsyncClient, settings: Settings, run: Run, address: Callable[[str], str]
) -> None:
    training = Path(settings.training_path)
    (training / run.folder).rename(training / "elsewhere")

    refused = await api.get(f"{address('checkpoint-20')}/content")

    assert (409, "gpu-1") == (refused.status_code, refused.json()["host"])


async def test_an_unknown_artifact_has_no_content(api: httpx.AsyncClient) -> None:
    await furnish(api, "waiting")

    assert 404 == (await api.get("/projects/p/runs/waiting/artifacts/ckpt_x/content")).status_code


@pytest.fixture
async def served(tmp_path: Path, sqlite_url: str) -> AsyncIterator[House]:
    """A server as a process, with a run `r` of `p` that has left 300 MiB, mostly zeros."""
    house = House(tmp_path / "house", sqlite_url)
    house.api.start()
    eventually(house.ready)
    project = a_project("p")
    run = a_run(project.id, "r", status=RunStatus.succeeded)
    left(house.training, run, **{"big.log": b"begin"})
    with (house.training / run.folder / "output" / "big.log").open("r+b") as file:
        file.truncate(300 * MIB)
        file.seek(-3, 2)
        file.write(b"end")
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    manifest = [FileSum(path=".", size_bytes=300 * MIB, sha256=digest)]
    log = replace(artifact(house.training, run, ArtifactType.log, "big.log", 1), id="art_big", manifest=manifest, sha256=digest)
    async with opened(sqlite_url) as db:
        await db.run(keep, project, run, log)
    yield house
    house.close()


CONTENT = "/projects/p/runs/r/artifacts/art_big/content"


def test_a_download_takes_no_more_memory_than_its_chunks(served: House) -> None:
    served.client.get(CONTENT, headers={"Range": "bytes=0-9"})
    before = _peak(served)

    with served.client.stream("GET", CONTENT) as answer:
        received = sum(len(chunk) for chunk in answer.iter_raw())

    assert 300 * MIB == received
    assert _peak(served) - before < 32 * MIB


def test_a_download_that_is_left_lets_the_server_end(served: House) -> None:
    with served.client.stream("GET", CONTENT) as answer:
        next(answer.iter_raw(4096))

    assert -signal.SIGTERM == served.api.stop()


def test_an_open_download_breaks_off_when_the_server_ends(served: House) -> None:
    def read_on() -> int:
        with served.client.stream("GET", CONTENT) as answer:
            chunks = answer.iter_raw(4096)
            next(chunks)
            served.api.process.terminate()  # type: ignore[union-attr]
            return sum(map(len, chunks))

    with pytest.raises(httpx.RemoteProtocolError):
        read_on()
    assert -signal.SIGTERM == served.api.stop()


def test_the_client_fetches_a_file_and_goes_on_where_it_broke_off(served: House, fetched: Path) -> None:
    with Client(served.url) as client:
        whole = client.fetch("p", "r", "art_big", fetched)
        content = whole.read_bytes()
        whole.rename(_partial(served, fetched))
        os.truncate(_partial(served, fetched), 299 * MIB)

        again = client.fetch("p", "r", "art_big", fetched)

    assert (fetched / "big.log", fetched / "big.log") == (whole, again)
    assert (b"begin", b"end", 300 * MIB) == (content[:5], content[-3:], len(content))
    assert content == again.read_bytes()
    assert [again] == list(fetched.iterdir())


def test_what_the_client_fetched_is_held_against_its_sum(served: House, fetched: Path) -> None:
    _partial(served, fetched).write_bytes(b"not the bytes that it goes on from")

    with Client(served.url) as client, pytest.raises(TuneyardError, match="its sha256 is"):
        client.fetch("p", "r", "art_big", fetched)

    assert [] == list(fetched.iterdir())


def test_the_client_says_why_it_cannot_fetch(served: House, fetched: Path) -> None:
    with Client(served.url) as client:
        with pytest.raises(TuneyardError, match="has no artifact ckpt_none"):
            client.fetch("p", "r", "ckpt_none", fetched)
        with pytest.raises(TuneyardError, match="cannot be written"):
            client.fetch("p", "r", "art_big", fetched / "no" / "such" / "folder")


def test_the_command_line_lists_and_fetches(served: House, fetched: Path) -> None:
    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "tuneyard", "--url", served.url, "artifacts", *words]
        return subprocess.run(command, env=served.environment, cwd=fetched, capture_output=True, text=True, check=False)

    listed, as_well = run("--json", "p", "r"), run("list", "p", "r", "--json")
    got, refused = run("get", "p", "r", "art_big", "--output", "大.log"), run("get", "p", "r", "art_none")

    assert ["art_big"] == [each["id"] for each in json.loads(listed.stdout)]
    assert listed.stdout == as_well.stdout
    assert (0, "大.log (300.0 MiB)\n", 300 * MIB) == (got.returncode, got.stdout, (fetched / "大.log").stat().st_size)
    assert (2, True) == (refused.returncode, "has no artifact art_none" in refused.stderr)


@pytest.fixture
def fetched(tmp_path: Path) -> Path:
    """An empty folder."""
    (tmp_path / "fetched").mkdir()
    return tmp_path / "fetched"


def _partial(house: House, folder: Path) -> Path:
    """Where a client keeps what it has of a file until it has all."""
    etag = house.client.head(CONTENT).headers["ETag"]
    return folder / f".big.log.{hashlib.sha256(etag.encode()).hexdigest()[:16]}.part"


def _peak(house: House) -> int:
    """The most memory that the server has had, in bytes."""
    status: Any = Path(f"/proc/{house.api.process.pid}/status").read_text()  # type: ignore[union-attr]
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
