"""What goes where, and why not: a pure function of who waits and which hosts are there."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from domain.hosts.host import Host
from domain.ids import HostName, ProcessId
from domain.processes.process import Process


class Decision(Struct, frozen=True):
    """A host for a process, or the reason why it waits."""

    process_id: ProcessId
    host: HostName | None = None
    reason: str | None = None


def place(waiting: Iterable[Process], hosts: Iterable[Host], living: Mapping[HostName, int]) -> list[Decision]:
    """Decide for each waiting process, highest priority first, then oldest; `living` counts processes per host.

    The host with the most free slots takes the next one. A process that no host can ever satisfy holds nobody up.
    """
    free = {host.id: host.slots - living.get(host.id, 0) for host in hosts if host.accepting}
    decisions = []
    for process in sorted(waiting, key=lambda each: (-each.priority, each.created_at, each.id)):
        host = max(free, key=lambda name: (free[name], name), default=None)
        reason = _reason(process, free, host)
        if reason is None and host is not None:
            free[host] -= 1
            decisions.append(Decision(process.id, host=host))
        else:
            decisions.append(Decision(process.id, reason=reason))
    return decisions


def _reason(process: Process, free: Mapping[HostName, int], host: HostName | None) -> str | None:
    if host is None:
        return "no host is accepting work: start one with `tuneyard up` or `tuneyard worker`"
    wanted = process.resources
    if wanted.gpu_count:
        return f"no host offers {wanted.gpu_count} GPU{'s' if wanted.gpu_count > 1 else ''} of type {wanted.gpu_type or 'any'}"
    if free[host] <= 0:
        return "every slot of every host is taken; it starts when a process there ends"
    return None
