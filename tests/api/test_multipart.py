"""Whatever a client sends as an upload, it is kept whole or refused in words, and nothing stays behind."""

import asyncio
import gzip
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import uvicorn
from litestar import Litestar, Request, Response, put

from api.multipart import OVERHEAD, file_part
from domain.errors import DomainError
from infra.files.store import FileStore

LIMIT = 4 * 2**20
PATIENCE = 0.3
STATUS = {"invalid": 400, "too-large": 413}
EDGE = "x5f0e9c1"
FORM = {"Content-Type": f"multipart/form-data; boundary={EDGE}"}


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """Where the uploads of a test go."""
    return FileStore(tmp_path / "training")


@pytest.fixture
def app(store: FileStore) -> Litestar:
    """One upload route, as the real ones are."""

    @put("/files", request_max_body_size=None)
    async def put_file(request: Request[Any, Any, Any]) -> dict[str, str | int]:
        async with file_part(request, limit=LIMIT, patience=PATIENCE) as (name, chunks):
            stored = await store.keep(chunks, limit=LIMIT, name=name)
        return {"name": name, "bytes": stored.size_bytes, "sha256": stored.sha256}

    def refused(_: Request[Any, Any, Any], error: DomainError) -> Response[dict[str, str]]:
        return Response({"detail": error.detail}, status_code=STATUS[error.kind])

    return Litestar([put_file], exception_handlers={DomainError: refused}, openapi_config=None)


@pytest.fixture
async def client(app: Litestar) -> AsyncIterator[httpx.AsyncClient]:
    """A client in the same process, without a socket."""
    async with calling(app) as client:
        yield client


@pytest.fixture
async def port(app: Litestar) -> AsyncIterator[int]:
    """The port of a real server."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    serving = asyncio.ensure_future(server.serve())
    await until(lambda: server.started)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await asyncio.wait_for(serving, 10)


def calling(app: Litestar) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=cast("Any", app))  # two true descriptions of ASGI that do not match
    return httpx.AsyncClient(transport=transport, base_url="http://house")


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - neither uvicorn's start nor a file has an event
            await asyncio.sleep(0.01)


def part(data: bytes, disposition: str = 'form-data; name="file"; filename="train.jsonl"', extra: str = "") -> bytes:
    return f"--{EDGE}\r\nContent-Disposition: {disposition}\r\n{extra}\r\n".encode() + data + b"\r\n"


END = f"--{EDGE}--\r\n".encode()


def kept(store: FileStore) -> list[bytes]:
    return [path.read_bytes() for path in store.root.rglob("*") if path.is_file()]


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("size", [1, 2, 7, 100, 65_536])
async def test_a_file_arrives_as_it_was_sent_however_it_is_cut(client: httpx.AsyncClient, store: FileStore, size: int) -> None:
    data = b"\r\n--x5f0e9c\r\n--x5f0\r\r\n\n--" * 20

    answer = await client.put("/files", content=pieces(part(data) + END, size), headers=FORM)

    assert answer.json() == {"name": "train.jsonl", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert [data] == kept(store)


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('form-data; name="file"; filename="训练 数据.jsonl"', "训练 数据.jsonl"),
        ("form-data; name=\"file\"; filename*=utf-8''%E8%AE%AD%E7%BB%83.jsonl", "训练.jsonl"),
        ('form-data; name="file"; filename="xx.jsonl"; filename*=UTF-8\'zh\'%E8%AE%AD%E7%BB%83.jsonl', "训练.jsonl"),
        ('form-data; name="file"; filename="a; filename*=utf-8\'\'b"', "a; filename*=utf-8''b"),
        ("form-data; filename=train.jsonl; name=file", "train.jsonl"),
        ('form-data; name="file"; filename="a%22b.txt"', 'a"b.txt'),
        ('form-data; name="file"; filename="100%41.txt"', "100%41.txt"),
    ],
)
async def test_a_file_keeps_its_name(client: httpx.AsyncClient, disposition: str, name: str) -> None:
    answer = await client.put("/files", content=part(b"x", disposition) + END, headers=FORM)

    assert name == answer.json()["name"]


REFUSED = {
    "no content type": ({}, part(b"x") + END, "as multipart/form-data"),
    "another content type": ({"Content-Type": "application/json"}, b"{}", "as multipart/form-data"),
    "no boundary": ({"Content-Type": "multipart/form-data"}, part(b"x") + END, "boundary"),
    "an endless boundary": ({"Content-Type": "multipart/form-data; boundary=" + "x" * 1000}, part(b"x") + END, "boundary"),
    "a boundary with a space": ({"Content-Type": 'multipart/form-data; boundary="a b"'}, part(b"x") + END, "boundary"),
    "an empty body": (FORM, b"", "cut off"),
    "a form without parts": (FORM, END, "the field 'file'"),
    "another boundary": (FORM, (part(b"x") + END).replace(EDGE.encode(), b"other"), "cut off"),
    "another field": (FORM, part(b"x", 'form-data; name="data"; filename="a.txt"') + END, "the field 'file'"),
    "no field name": (FORM, part(b"x", 'form-data; filename="a.txt"') + END, "the field 'file'"),
    "no file name": (FORM, part(b"x", 'form-data; name="file"') + END, "no file name"),
    "an empty file name": (FORM, part(b"x", 'form-data; name="file"; filename=""') + END, "no file name"),
    "a file name that climbs": (FORM, part(b"x", 'form-data; name="file"; filename="../a.txt"') + END, "file name"),
    "a file name in Latin-1": (FORM, part(b"x").replace(b"train", b"tr\xe4in") + END, "malformed"),
    "an extended name in Latin-1": (FORM, part(b"x", "form-data; name=\"file\"; filename*=utf-8''%E4.txt") + END, "UTF-8"),
    "an attachment": (FORM, part(b"x", 'attachment; name="file"; filename="a.txt"') + END, "malformed"),
    "no disposition": (FORM, f"--{EDGE}\r\nContent-Type: text/plain\r\n\r\nx\r\n".encode() + END, "malformed"),
    "two files": (FORM, part(b"x") * 2 + END, "more than one part"),
    "a thousand parts": (FORM, part(b"x") * 1000 + END, "more than one part"),
    "a field after the file": (FORM, part(b"x") + part(b"x", 'form-data; name="note"') + END, "more than one part"),
    "no closing boundary": (FORM, part(b"x"), "cut off"),
    "half a closing boundary": (FORM, part(b"x") + END[:6], "cut off"),
    "cut in the headers": (FORM, part(b"x")[:30], "cut off"),
    "a huge header": (FORM, part(b"x", extra="X-Large: " + "x" * 10_000 + "\r\n") + END, "too long"),
    "a huge header without an end": (FORM, f"--{EDGE}\r\n".encode() + b"x" * 10_000, "too long"),
    "a hundred headers": (FORM, part(b"x", extra="X-More: x\r\n" * 100) + END, "too long"),
    "a wrong length of the part": (FORM, part(b"x", extra="Content-Length: 2\r\n") + END, "malformed"),
    "a long preamble": (FORM, b"x" * (OVERHEAD + 1) + b"\r\n" + part(b"x") + END, "beside the file"),
    "a long epilogue": (FORM, part(b"x") + END + b"x" * (OVERHEAD + 1), "beside the file"),
    "gzip": (FORM | {"Content-Encoding": "gzip"}, gzip.compress(part(b"x") + END), "cut off"),
}


@pytest.mark.parametrize(("headers", "body", "words"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("size", [11, 65_536])
async def test_any_other_form_is_refused_in_words_and_leaves_nothing(
    client: httpx.AsyncClient, store: FileStore, headers: dict[str, str], body: bytes, words: str, size: int
) -> None:
    answer = await client.put("/files", content=pieces(body, size), headers=headers)

    assert (400, True) == (answer.status_code, words in answer.json()["detail"]), answer.text
    assert kept(store) == []


async def test_a_file_of_exactly_the_limit_is_kept(client: httpx.AsyncClient, store: FileStore) -> None:
    answer = await client.put("/files", files={"file": ("train.jsonl", b"x" * LIMIT)})

    assert LIMIT == answer.json()["bytes"]
    assert [LIMIT] == [len(data) for data in kept(store)]


async def test_one_byte_over_the_limit_is_refused_and_leaves_nothing(client: httpx.AsyncClient, store: FileStore) -> None:
    answer = await client.put("/files", files={"file": ("train.jsonl", b"x" * (LIMIT + 1))})

    assert answer.status_code == 413
    assert kept(store) == []


async def test_an_announced_excess_is_refused_before_a_byte_is_read(client: httpx.AsyncClient) -> None:
    async def never_asked() -> AsyncIterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    headers = FORM | {"Content-Length": str(LIMIT + OVERHEAD + 1)}
    answer = await client.put("/files", content=never_asked(), headers=headers)

    assert answer.status_code == 413


async def test_the_bytes_are_handed_on_before_the_body_has_ended() -> None:
    seen = asyncio.Event()

    @put("/files", request_max_body_size=None)
    async def put_file(request: Request[Any, Any, Any]) -> None:
        async with file_part(request) as (_, chunks):
            async for _chunk in chunks:
                seen.set()

    async def waiting() -> AsyncIterator[bytes]:
        yield part(b"x" * 1000)[:-2]
        await asyncio.wait_for(seen.wait(), 10)
        yield b"\r\n" + END

    async with calling(Litestar([put_file], openapi_config=None)) as client:
        answer = await client.put("/files", content=waiting(), headers=FORM)

    assert answer.status_code == 200


async def curl(port: int, *arguments: str, cwd: Path) -> tuple[int, dict[str, Any]]:
    """The status and the answer, as the real curl sees them."""
    argv = ("curl", "-sS", "-X", "PUT", "-w", "\n%{http_code}", *arguments, f"http://127.0.0.1:{port}/files")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, cwd=cwd, stdout=pipe, stderr=pipe)
    out, complaint = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, complaint.decode()
    body, _, status = out.decode().rpartition("\n")
    return int(status), json.loads(body)


async def test_the_documented_curl_works_as_it_stands(port: int, tmp_path: Path) -> None:
    """The header in the documents has no boundary; curl adds its own."""
    (tmp_path / "train.jsonl").write_bytes(b"{}\n" * 1000)

    answer = await curl(port, "-H", "Content-Type: multipart/form-data", "-F", "file=@./train.jsonl", cwd=tmp_path)

    assert answer == (200, {"name": "train.jsonl", "bytes": 3000, "sha256": hashlib.sha256(b"{}\n" * 1000).hexdigest()})


async def test_curl_sends_a_chinese_name(port: int, tmp_path: Path) -> None:
    (tmp_path / "训练 配置.yaml").write_text("task_type: sft\n")

    status, answer = await curl(port, "-F", "file=@训练 配置.yaml", cwd=tmp_path)

    assert (status, answer["name"]) == (200, "训练 配置.yaml")


async def test_curl_without_a_length_is_held_to_the_limit(port: int, tmp_path: Path, store: FileStore) -> None:
    (tmp_path / "large").write_bytes(b"x" * (LIMIT * 3))

    status, _ = await curl(port, "-H", "Transfer-Encoding: chunked", "-F", "file=@large", cwd=tmp_path)

    assert status == 413
    assert kept(store) == []


async def test_curl_is_told_of_an_excess_before_it_sends(port: int, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * (LIMIT * 3))

    status, answer = await curl(port, "-F", "file=@large", cwd=tmp_path)

    assert (status, "nothing of it was read" in answer["detail"]) == (413, True)


async def test_a_client_that_hangs_up_leaves_nothing(port: int, store: FileStore) -> None:
    incoming = store.root / "incoming"
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.writelines([head(10**6), part(b"x" * 5000)])
    await until(lambda: list(incoming.iterdir()))

    writer.close()

    await until(lambda: not list(incoming.iterdir()))
    assert kept(store) == []


async def test_a_length_that_announces_too_little_is_a_cut_off_form(port: int, store: FileStore) -> None:
    answer = await answered(port, head(500), part(b"x" * 5000) + END)

    assert b" 400 " in answer.splitlines()[0]
    assert kept(store) == []


async def test_a_client_that_falls_silent_is_given_up(port: int, store: FileStore) -> None:
    answer = await answered(port, head(10**6), part(b"x" * 5000))

    assert b" 400 " in answer.splitlines()[0]
    assert b"Nothing arrived for 0.3 seconds" in answer
    assert kept(store) == []


async def answered(port: int, *said: bytes) -> bytes:
    """What the server says to raw bytes until it hangs up; the client says nothing more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.writelines(said)
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    await writer.wait_closed()
    return answer


def head(length: int) -> bytes:
    lines = ["PUT /files HTTP/1.1", "Host: a", "Connection: close", f"Content-Type: {FORM['Content-Type']}", f"Content-Length: {length}"]
    return "\r\n".join([*lines, "", ""]).encode()
