"""What hosts do with processes: place the waiting ones, take a start, see one alive, store its output, end it or let it begin again.

Every write of a worker holds its host's lease; who has lost it is a ghost and changes nothing.
"""

from datetime import datetime, timedelta
from typing import Protocol

from domain.database import Transaction
from domain.errors import Ghost, NotFound
from domain.events.actions import record
from domain.events.ports import HasEvents
from domain.hosts.ports import HasHosts
from domain.ids import HostName, ProcessId
from domain.messages import LookAtProcess
from domain.processes.log import Written, append
from domain.processes.placement import place as decide
from domain.processes.ports import HasProcesses, Sight
from domain.processes.process import Phase, Process
from domain.processes.yard import places, seen


class Tx(Transaction, HasProcesses, HasHosts, HasEvents, Protocol):
    """What the actions on processes may touch."""


class Speaker(Protocol):
    """Whoever speaks for a host: its name and the lease it was given."""

    @property
    def name(self) -> HostName:
        """The host."""
        ...

    @property
    def lease(self) -> int:
        """The lease under which it writes."""
        ...


def place(tx: Tx) -> int:
    """Give waiting processes to live hosts and ring those; how many were placed."""
    tx.processes.lock_placement()
    live = {host.id for host, lives in tx.hosts.all() if lives}
    _take_back(tx, live)
    wishes = tx.processes.wishes(tx.now) if live else []
    decisions = decide(wishes, places(seen(tx))) if wishes else []
    placed = 0
    for each in decisions:
        if tx.processes.give(each.process_id, each.host, [gpu.device for gpu in each.gpus]):
            tx.gpus.grant(each.process_id, each.gpus)
            tx.wake(each.host, LookAtProcess(each.process_id))
            placed += 1
    return placed


def sweep(tx: Tx, host: HostName) -> int:
    """Place what nobody placed: an attempt that is due by now, an order whose server died after its commit.

    Of all hosts that live, the first by name sees to it; a thousand need not each look.
    """
    return place(tx) if tx.hosts.first_live() == host else 0


def on_hand(tx: Tx, host: HostName) -> list[Process]:
    """Everything this host must see to."""
    return tx.processes.on(host)


def ended_since(tx: Tx, host: HostName, moment: datetime) -> list[Process]:
    """Everything that was on this host and ended at that moment or later."""
    return tx.processes.ended_since(host, moment)


def take(tx: Tx, process_id: ProcessId, speaker: Speaker) -> Process:
    """Claim the start of a placed process for this host."""
    process = held(tx, process_id, speaker)
    if process.phase is not Phase.placed:
        return process
    process = process.to(Phase.starting, tx.now)
    tx.processes.save(process)
    return process


def seen_alive(tx: Tx, process_id: ProcessId, speaker: Speaker, sight: Sight) -> Process:
    """Note who the command is: pid, start time and boot id together, never the pid alone."""
    process = held(tx, process_id, speaker)
    if process.phase is not Phase.starting or process.attempt != sight.attempt:
        return process
    process = process.to(Phase.alive, tx.now, pid=sight.pid, start_ticks=sight.start_ticks, boot_id=sight.boot_id)
    tx.processes.save(process)
    return process


def store(tx: Tx, process: Process, lines: list[bytes], *, seen_at: datetime, end_byte: int, report_end: int) -> None:
    """Store output and move the offsets behind it, in one transaction; Ghost when somebody else already did."""
    written = Written(lines=lines, at=seen_at, first_byte=process.log_offset, end_byte=end_byte)
    if not tx.processes.advance(process, to=end_byte, report_to=report_end):
        message = f"the output of process {process.id} was stored by another worker meanwhile"
        raise Ghost(message, process=process.id)
    tx.logs.put(append(tx.logs.last(process.owner_id), process.owner_id, process.attempt, written))


def note(tx: Tx, process: Process, text: str, *, level: str = "INFO") -> None:
    """Write a line of our own into the process's log, marked as ours by its level."""
    last = tx.logs.last(process.owner_id)
    lines = [line.encode() for line in text.splitlines()]
    written = Written(lines=lines, at=tx.now, first_byte=process.log_offset, end_byte=process.log_offset, level=level)
    tx.logs.put(append(last, process.owner_id, process.attempt, written))


def stop(tx: Tx, process: Process, *, grace: timedelta, kill: bool = True, drain: timedelta = timedelta(0)) -> Process:
    """Ask a process to stop: one that nobody has taken is over at once, for a living one its host is woken.

    After `drain` it is asked; what has not left after `grace` is killed, unless that is not wanted.
    """
    if process.phase in (Phase.waiting, Phase.placed):
        return end(tx, process)
    process = process.asked_to_stop(tx.now, grace, kill=kill, drain=drain)
    tx.processes.save(process)
    if process.host is not None:
        tx.wake(process.host, LookAtProcess(process.id))
    return process


def get(tx: Tx, process_id: ProcessId) -> Process | None:
    """Return a process as it stands: whether it is still wanted."""
    return tx.processes.get(process_id)


def again(tx: Tx, process: Process, *, after: timedelta, folder: str | None) -> Process:
    """Let a process whose attempt is over wait for its next one; `folder` is the training folder that it needs then."""
    process = process.again(tx.now, after=after, folder=folder)
    tx.processes.save_again(process)
    tx.gpus.release(process.id)
    tx.place_later()
    return process


def freed(tx: Tx, process_id: ProcessId, speaker: Speaker, left: list[int]) -> Process:
    """Free the GPUs of a process that is verified dead; those on which something would not die (`left`, pids) are set aside."""
    process = held(tx, process_id, speaker)
    if left:
        tx.gpus.set_aside(process_id, _unkillable(process, left))
    else:
        tx.gpus.release(process_id)
        tx.place_later()
    return process


def outlived(tx: Tx, process: Process, left: list[int]) -> None:
    """Set aside the GPUs of a process that was declared over while its host was silent: something there (`left`, pids) would not die."""
    there = tx.gpus.of(process.host) if process.host else []
    tx.gpus.grant(process.id, [gpu for gpu in there if gpu.device in process.gpus and gpu.free])
    tx.gpus.set_aside(process.id, _unkillable(process, left))


def end(tx: Tx, process: Process) -> Process:
    """Mark the process as over; its place on the host, and what it held there, are free for the next."""
    process = process.to(Phase.over, tx.now)
    tx.processes.save(process)
    tx.gpus.release(process.id)
    tx.place_later()
    record(tx, "process.ended", process.id, owner=process.owner_id, host=process.host, attempt=process.attempt)
    return process


def locked_of(tx: Tx, owner_id: str) -> Process:
    """Lock the process of a run, a deployment or a job."""
    return _locked(tx, tx.processes.of(owner_id).id)


def held(tx: Tx, process_id: ProcessId, speaker: Speaker) -> Process:
    """Lock the process, with the certainty that the caller still speaks for its host."""
    process = _locked(tx, process_id)
    if process.host != speaker.name:
        message = f"process {process_id} is on host {process.host}, not on {speaker.name}"
        raise Ghost(message, process=process_id)
    tx.hosts.hold(speaker.name, speaker.lease)
    return process


def _locked(tx: Tx, process_id: ProcessId) -> Process:
    process = tx.processes.lock(process_id)
    if process is None:
        message = f"there is no process {process_id}"
        raise NotFound(message, process=process_id)
    return process


def _unkillable(process: Process, left: list[int]) -> str:
    return f"pids {', '.join(map(str, left))} of process {process.id} could not be killed"


def _take_back(tx: Tx, live: set[HostName]) -> None:
    """Let those wait again that were placed where no worker speaks any more; none of them has begun."""
    for process in tx.processes.untaken():
        if process.host not in live:
            tx.gpus.release(process.id)
            tx.processes.save(process.to(Phase.waiting, tx.now, host=None, gpus=[]))
