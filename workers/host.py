"""A host's worker: it registers, supervises, and answers the bell; supervisor first, arq its guest.

A flock on the host's own file tells whether another worker of this machine lives. If it is free, the other is dead for certain
and its lease is taken over at once; if it is held, the other must have been silent for a whole lease.
"""

import asyncio
import fcntl
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from domain.errors import DomainError
from domain.hosts import actions as hosts
from domain.hosts.gpu import SeenGpu
from domain.hosts.host import Registration
from domain.ids import HostName
from domain.processes.ports import Executor
from infra import tasks
from infra.executors.docker import DockerExecutor
from infra.executors.local import LocalExecutor
from infra.files.folder import folder_id
from infra.gpus import Gpus
from infra.settings import Settings
from infra.wiring import World, open_world
from workers.doorbell import answer_bell
from workers.hand import Hand, Speaker
from workers.leftovers import end_leftovers
from workers.supervisor import Supervisor

log = logging.getLogger("tuneyard.worker")

DATABASE_PATIENCE_SECONDS = 10.0
"""A worker has time: it waits longer for the database than a request may."""


async def work(settings: Settings) -> None:
    """Work for this host until a signal says to stop; trainings go on by themselves.

    Conflict when another worker already does; Ghost when another takes over; SettingsError when the world cannot be opened.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    name = HostName(settings.host)
    async with open_world(settings, f"host:{name}", patience=DATABASE_PATIENCE_SECONDS) as world:
        with _flock(Path(settings.training_path) / "hosts" / f"{name}.lock") as sole, Gpus(settings.gpus, settings.gpu_type) as gpus:
            executors = _executors(settings)
            await end_leftovers(world.db, name, Path(settings.training_path), executors, settings.executor)
            host = await world.db.run(hosts.register, _registration(settings, name, gpus.seen(), sole=sole))
            speaker = Speaker(name, host.lease)
            log.info("worker of host %s is at work (lease %s, executor %s, %s GPUs)", name, host.lease, settings.executor, len(gpus.seen()))
            try:
                await _until(stop, world, _hand(world, speaker, executors, gpus))
            finally:
                with suppress(DomainError):
                    await world.db.run(hosts.leave, name, host.lease)
    log.info("worker of host %s has stopped; running trainings go on and are adopted by the next one", name)


def _hand(world: World, speaker: Speaker, executors: dict[str, Executor], gpus: Gpus) -> Hand:
    return Hand(
        db=world.db,
        settings=world.settings,
        speaker=speaker,
        executors=executors,
        gpus=gpus.seen,
        asker=world.asker,
        memory_held=gpus.memory_held,
    )


async def _until(stop: asyncio.Event, world: World, hand: Hand) -> None:
    supervisor = Supervisor(hand)
    supervising = asyncio.create_task(supervisor.run())
    parts: list[asyncio.Task[object]] = [supervising, asyncio.create_task(stop.wait())]
    if world.settings.redis_url:
        parts.append(asyncio.create_task(answer_bell(hand.speaker.name, world.settings.redis_url, supervisor)))
    try:
        await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        if supervising.done():
            supervising.result()
    finally:
        await tasks.end(parts)


def _executors(settings: Settings) -> dict[str, Executor]:
    docker = DockerExecutor(
        settings.docker_host,
        settings.docker_container,
        training_path=settings.training_path,
        seen_at=settings.container_training_path,
        user=settings.docker_user,
        mode=settings.docker_mode,
        image=settings.docker_image,
        mounts=[mount for mount in settings.docker_mounts.split(",") if mount],
    )
    return {"local": LocalExecutor(), "docker": docker}


def _registration(settings: Settings, name: HostName, gpus: list[SeenGpu], *, sole: bool) -> Registration:
    return Registration(
        name=name,
        address=settings.address,
        boot_id=Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip(),
        slots=settings.slots,
        gpus=gpus,
        folder=folder_id(Path(settings.training_path)),
        executor=settings.executor,
        sole=sole,
        ttl=timedelta(seconds=settings.lease_seconds),
    )


@contextmanager
def _flock(path: Path) -> Iterator[bool]:
    """Hold the file's lock if it is free; whether it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
