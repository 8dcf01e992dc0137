"""A file is kept whole or not at all, whatever interrupts it."""

import asyncio
import hashlib
import resource
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from domain.errors import Invalid, TooLarge, Unavailable
from infra.files.store import BATCH, FileStore, Stored

DATA = bytes(range(256)) * 12_345
"""Three batches and a rest."""


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """A store in a directory of its own, with nothing in it."""
    return FileStore(tmp_path)


async def arriving(data: bytes, size: int = 65_521) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def keep(store: FileStore, data: bytes, name: str = "train.jsonl", limit: int = 2**30) -> Stored:
    return await store.keep(arriving(data), limit=limit, name=name)


def files(store: FileStore) -> list[Path]:
    return [path for path in store.root.rglob("*") if path.is_file()]


async def test_bytes_are_kept_under_their_own_sum(store: FileStore) -> None:
    stored = await keep(store, DATA)

    sha256 = hashlib.sha256(DATA).hexdigest()
    assert (sha256, len(DATA)) == (stored.sha256, stored.size_bytes)
    assert store.root / "blobs" / sha256[:2] / f"{sha256}.jsonl" == stored.path == store.path_of(sha256, "other.jsonl")
    assert stored.path.read_bytes() == DATA
    assert [stored.path] == files(store)


async def test_the_same_bytes_twice_are_one_blob(store: FileStore) -> None:
    first, second = await asyncio.gather(keep(store, DATA, "a.jsonl"), keep(store, DATA, "b.jsonl"))

    assert first == second
    assert [first.path] == files(store)


async def test_a_blob_is_not_to_be_written_again(store: FileStore) -> None:
    stored = await keep(store, DATA)

    assert stored.path.stat().st_mode & 0o777 == 0o444


async def test_a_spoilt_blob_is_healed_by_the_next_upload(store: FileStore) -> None:
    stored = await keep(store, DATA)
    stored.path.chmod(0o644)
    stored.path.write_bytes(b"spoilt")

    await keep(store, DATA)

    assert stored.path.read_bytes() == DATA


async def test_an_empty_file_is_a_file(store: FileStore) -> None:
    stored = await keep(store, b"")

    assert (stored.size_bytes, stored.path.read_bytes()) == (0, b"")


async def test_a_file_of_exactly_the_limit_is_kept(store: FileStore) -> None:
    assert (await keep(store, DATA, limit=len(DATA))).size_bytes == len(DATA)


async def test_one_byte_over_the_limit_keeps_nothing_and_reads_no_further(store: FileStore) -> None:
    chunks = arriving(DATA)

    with pytest.raises(TooLarge) as refused:
        await store.keep(chunks, limit=BATCH, name="train.jsonl")

    assert refused.value.facts == {"limit_bytes": BATCH}
    assert files(store) == []
    assert BATCH + 65_521 >= len(DATA) - sum([len(chunk) async for chunk in chunks])


async def test_an_upload_that_breaks_leaves_nothing(store: FileStore) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield DATA
        raise Invalid("cut off")

    with pytest.raises(Invalid, match="cut off"):
        await store.keep(breaking(), limit=2**30, name="train.jsonl")

    assert files(store) == []


async def test_a_flaw_found_after_the_last_byte_leaves_nothing(store: FileStore) -> None:
    async def flawed() -> AsyncIterator[bytes]:
        async for chunk in arriving(DATA):
            yield chunk
        raise Invalid("a second part")

    with pytest.raises(Invalid, match="a second part"):
        await store.keep(flawed(), limit=2**30, name="train.jsonl")

    assert files(store) == []


@pytest.mark.parametrize("cancels", [1, 3])
async def test_a_cancelled_upload_leaves_nothing(store: FileStore, cancels: int) -> None:
    stalled = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield DATA
        stalled.set()
        await asyncio.Event().wait()

    upload = asyncio.ensure_future(store.keep(stalling(), limit=2**30, name="train.jsonl"))
    await asyncio.wait_for(stalled.wait(), 10)

    for _ in range(cancels):
        upload.cancel()

    with pytest.raises(asyncio.CancelledError):
        await upload
    assert files(store) == []


@pytest.mark.parametrize("steps", range(0, 60, 4))
async def test_an_upload_cancelled_at_any_moment_is_whole_or_gone(store: FileStore, steps: int) -> None:
    upload = asyncio.ensure_future(keep(store, DATA))
    for _ in range(steps):
        await asyncio.sleep(0)

    upload.cancel()
    await asyncio.wait([upload], timeout=10)

    assert upload.done()
    assert all(DATA == path.read_bytes() and path.parent.parent.name == "blobs" for path in files(store))


async def test_a_full_disk_is_said_in_words_and_leaves_nothing(small_disk: Path) -> None:
    store = FileStore(small_disk)

    with pytest.raises(Unavailable, match="free some space"):
        await keep(store, DATA)

    assert files(store) == []
    assert (await keep(store, DATA[:BATCH])).size_bytes == BATCH


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes, where the test may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


async def test_a_disk_that_refuses_a_write_leaves_nothing(store: FileStore) -> None:
    with _files_of_at_most(BATCH), pytest.raises(OSError, match="File too large"):
        await keep(store, DATA)

    assert files(store) == []


@contextmanager
def _files_of_at_most(size: int) -> Iterator[None]:
    """The kernel cuts a write in two at the limit, and refuses the second half."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


async def test_the_event_loop_stays_free_while_a_file_is_written(store: FileStore) -> None:
    longest = 0.0
    upload = asyncio.ensure_future(keep(store, DATA * 10))

    while not upload.done():
        began = time.perf_counter()
        await asyncio.sleep(0)
        longest = max(longest, time.perf_counter() - began)

    assert longest < 0.25


async def test_what_a_crash_left_is_swept_by_the_next_who_opens_the_store_and_what_arrives_is_not(store: FileStore) -> None:
    came, go_on = asyncio.Event(), asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield DATA
        came.set()
        await go_on.wait()

    (store.root / "incoming" / "left.part").write_bytes(b"half")
    upload = asyncio.ensure_future(store.keep(stalling(), limit=2**30, name="train.jsonl"))
    await asyncio.wait_for(came.wait(), 10)

    FileStore(store.root)
    left = files(store)
    go_on.set()

    assert 1 == len(left)
    assert "left.part" != left[0].name
    assert DATA == (await upload).path.read_bytes()


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        ("train.jsonl", ".jsonl"),
        ("TRAIN.JSONL", ".jsonl"),
        ("训练.yaml", ".yaml"),
        ("train.jsonl.gz", ".jsonl.gz"),
        ("train.v2.jsonl", ".jsonl"),
        ("train.gz", ".gz"),
        ("train", ""),
        (".yaml", ""),
        ("train.数据", ""),
        ("train.a b", ""),
        ("train.sh;rm", ""),
        ("train." + "x" * 16, ""),
    ],
)
def test_only_a_harmless_extension_of_the_users_name_is_used(store: FileStore, name: str, extension: str) -> None:
    assert store.path_of("0" * 64, name).name == "0" * 64 + extension


@pytest.mark.parametrize("sha256", ["", "0" * 63, "G" * 64, "../" + "0" * 61, "0" * 64 + "\n"])
def test_what_is_no_sum_makes_no_path(store: FileStore, sha256: str) -> None:
    with pytest.raises(Invalid):
        store.path_of(sha256, "train.jsonl")


def test_a_file_laid_there_by_hand_is_found(store: FileStore) -> None:
    laid = store.root / "datasets" / "数据.jsonl"
    laid.parent.mkdir()
    laid.write_text("line")

    found = store.find("datasets/数据.jsonl")

    assert found is not None
    assert (laid, 4, laid.stat().st_mtime_ns) == (found.path, found.size_bytes, found.mtime_ns)


async def test_an_upload_is_not_found_by_its_place_in_the_store(store: FileStore) -> None:
    stored = await keep(store, DATA)

    assert store.find(str(stored.path.relative_to(store.root))) is None


def test_what_is_not_there_is_not_found(store: FileStore) -> None:
    assert store.find("datasets/nothing.jsonl") is None


def test_nothing_outside_the_training_directory_is_found(store: FileStore) -> None:
    (store.root / "link").symlink_to("/etc")

    for path in ("../a", "/etc/passwd", "link/passwd"):
        with pytest.raises(Invalid):
            store.find(path)
