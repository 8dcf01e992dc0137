"""Large files over real connections: existing clients of the tus protocol work, and whoever dies midway costs nothing that counts."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError, TusUploadFailed

from tests.house import House, eventually
from tuneyard import client

MIB = 2**20
TUS = {"Tus-Resumable": "1.0.0"}
LARGE = 300
"""MiB."""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A server alone: uploads need no worker."""
    house = House(tmp_path / "house", f"sqlite:///{tmp_path}/training.db")
    house.api.start()
    eventually(house.ready)
    house.ok("POST", "/v1/datasets", json={"name": "d"})
    yield house
    house.close()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_tuspy_uploads_300_mb_though_the_server_is_killed_midway(house: House, tmp_path: Path) -> None:
    path, digest = _large(tmp_path / "大.jsonl")
    server = TusClient(f"{house.url}/v1/datasets/d/uploads")
    with path.open("rb") as file:
        first = server.uploader(file_stream=file, chunk_size=100 * MIB, metadata={"filename": path.name})
        first.set_url(first.create_url())
        upload = threading.Thread(target=_upload, args=(first,))

        upload.start()
        eventually(lambda: _received(house, first.url) >= 100 * MIB)
        house.api.kill()
        upload.join(60)
        house.api.start()
        eventually(house.ready)
        kept = _received(house, first.url)
        again = server.uploader(file_stream=file, url=first.url, chunk_size=100 * MIB)
        again.upload()

    assert 100 * MIB <= kept < LARGE * MIB
    assert LARGE * MIB == again.get_offset()
    (found,) = house.ok("GET", "/v1/datasets/d")["files"]
    assert ("大.jsonl", LARGE * MIB, digest) == (found["name"], found["bytes"], found["sha256"])
    assert [] == list((house.training / "incoming").iterdir())


def test_a_client_that_dies_midway_goes_on_where_it_was(house: House) -> None:
    content = bytes(range(256)) * 4096
    headers = TUS | {"Upload-Length": str(len(content)), "Upload-Metadata": "filename YQ=="}
    place = house.client.post("/v1/datasets/d/uploads", headers=headers).headers["Location"]
    patch = f"PATCH {place} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
    patch += f"Content-Type: application/offset+octet-stream\r\nContent-Length: {len(content)}\r\n\r\n"

    with socket.create_connection(("127.0.0.1", house.port)) as connection:
        connection.sendall(patch.encode() + content[:700_000])
    offset = eventually(lambda: _received(house, urljoin(house.url, place)))
    headers = TUS | {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}

    assert 0 < offset <= 700_000
    assert 204 == house.client.patch(place, headers=headers, content=content[offset:]).status_code
    assert hashlib.sha256(content).hexdigest() == house.ok("GET", "/v1/datasets/d")["files"][0]["sha256"]


def test_our_own_client_goes_on_after_a_killed_server_and_after_its_own_end(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "SMALL_BYTES", MIB)
    file = tmp_path / "大.jsonl"
    file.write_bytes(bytes(range(256)) * 4096 * 80)
    killed, begun_at = [False], []

    def kill(done: int, _: int) -> None:
        if done >= 70 * MIB and not killed[0]:
            killed[0] = True
            house.api.kill()
            house.api.start()

    def leave(done: int, _: int) -> None:
        begun_at.append(done)
        if done >= 70 * MIB:
            raise KeyboardInterrupt

    with client.Client(house.url) as tuneyard:
        pushed = tuneyard.push_dataset(file, "d", told=kill)
        with pytest.raises(KeyboardInterrupt):
            tuneyard.push_dataset(file, "other", told=leave)
        eventually(lambda: house.ok("GET", "/v1/datasets/other/uploads")[0]["received"])
        began = len(begun_at)
        again = tuneyard.push_dataset(file, "other", told=lambda done, _: begun_at.append(done))

    assert killed == [True]
    assert begun_at[began] >= 64 * MIB
    assert ("datasets/d/大.jsonl", 80 * MIB) == (pushed["path"], pushed["bytes"])
    files = [house.ok("GET", f"/v1/datasets/{name}")["files"][0] for name in ("d", "other")]
    assert {hashlib.sha256(file.read_bytes()).hexdigest()} == {each["sha256"] for each in files}
    assert again["upload_id"] == files[1]["upload_id"]


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_small_upload_killed_midway_leaves_nothing(house: House, who: str) -> None:
    put = "PUT /v1/datasets/d/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n"
    form = "Content-Type: multipart/form-data; boundary=B\r\n\r\n"
    form += '--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'

    with socket.create_connection(("127.0.0.1", house.port)) as connection:
        connection.sendall((put + form).encode() + bytes(3 * MIB))
        eventually(lambda: any(path.stat().st_size >= MIB for path in _files(house)))
        if who == "server":
            house.api.kill()
            house.api.start()
    eventually(house.ready)

    eventually(lambda: _files(house) == [])
    assert [] == house.ok("GET", "/v1/datasets/d")["files"]


def _files(house: House) -> list[Path]:
    return [path for path in house.training.rglob("*") if path.is_file()]


def _received(house: House, url: str | None) -> int:
    received: int = house.ok("GET", url or "")["received"]
    return received


def _upload(uploader: Any) -> None:
    with pytest.raises((TusUploadFailed, TusCommunicationError)):
        uploader.upload()


def _large(path: Path) -> tuple[Path, str]:
    """Write a large file of which no two mebibytes are the same; its sum."""
    digest, filler = hashlib.sha256(), bytes(range(256)) * 4095
    with path.open("wb") as file:
        for number in range(LARGE):
            block = number.to_bytes(256, "big") + filler
            digest.update(block)
            file.write(block)
    return path, digest.hexdigest()
