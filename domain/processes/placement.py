"""What goes where: a pure function of who waits and which hosts are there.

Highest priority first, then oldest. GPUs of one process are of one host and one type; such GPUs are a pool. A process goes to the
pool with the fewest free GPUs that are enough, so that large holes stay large. Small ones may pass a large one that is blocked,
but they never take from the pool that is nearest to being enough for it: so it starts before long, and nothing else stands idle.

Nothing here looks at every host for each process: pools are kept by how many GPUs they have free, hosts by their free slots.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import heappop, heappush
from sys import maxsize

from msgspec import Struct

from domain.hosts.gpu import Gpu, fits
from domain.ids import HostName, ProcessId
from domain.processes.process import OwnerKind, Resources


class Wish(Struct, frozen=True):
    """What a waiting process asks for."""

    process_id: ProcessId
    priority: int
    created_at: datetime
    resources: Resources
    folder: str | None = None
    """The training folder that it must find; None: any host will do."""
    owner_kind: OwnerKind = OwnerKind.run
    preferred_gpu: int | None = None
    """The number of the GPU it had best be given; another will do."""

    @property
    def slots(self) -> int:
        """How many of a host's slots it takes."""
        return int(self.owner_kind.takes_slot)

    @property
    def rank(self) -> tuple[int, datetime, ProcessId]:
        """Its place in the queue: the smallest is next."""
        return (-self.priority, self.created_at, self.process_id)

    @property
    def gpus(self) -> int | None:
        """How many GPUs it needs; None: one where the host has GPUs, else none. Who names a type and no count needs one of it."""
        if self.resources.gpu_count is None and self.resources.gpu_type is not None:
            return 1
        return self.resources.gpu_count


class Place(Struct, frozen=True):
    """A live host that accepts work."""

    host: HostName
    folder: str
    slots: int
    """How many more processes may live there."""
    gpus: list[Gpu]
    """All of its GPUs, free or not."""


class Decision(Struct, frozen=True):
    """Where a process goes, and the GPUs it is given there."""

    process_id: ProcessId
    host: HostName
    gpus: list[Gpu]


class Kept(Struct, frozen=True):
    """A pool whose free GPUs are kept back for one that waits for more of them."""

    wish: Wish
    host: HostName
    type: str


class Plan(Struct, frozen=True):
    """Who can be placed at once, and what is kept back for whom."""

    decisions: list[Decision]
    kept: list[Kept]


def place(wishes: Iterable[Wish], places: Iterable[Place]) -> list[Decision]:
    """Decide who starts now, and where. Whom no host can ever satisfy holds nobody up."""
    return Allocator(places).settle(wishes).decisions


def pools_of(gpus: Iterable[Gpu]) -> dict[str, list[Gpu]]:
    """Return those that are not set aside, by type and then number: what the host can ever offer."""
    pools = defaultdict[str, list[Gpu]](list)
    for gpu in sorted(gpus, key=lambda each: (each.type, each.number)):
        if gpu.set_aside is None:
            pools[gpu.type].append(gpu)
    return pools


@dataclass(slots=True, eq=False)
class _Room:
    """A host as it fills."""

    number: int
    host: HostName
    folder: str
    slots: int
    has_gpus: bool
    pools: list["_Pool"]


@dataclass(slots=True, eq=False)
class _Pool:
    """The GPUs of one type of one host as they are given away."""

    number: int
    room: _Room
    type: str
    total: int
    free: list[Gpu]
    kept_for: Wish | None = None


_Kind = tuple[tuple[str, ...], str | None]
"""The GPU types that will do, and the folder where one is needed."""


class Allocator:
    """The hosts while processes come and go.

    The heaps may hold what was true earlier: an entry is checked when it comes up, and every change adds the new truth.
    """

    def __init__(self, places: Iterable[Place]) -> None:
        self._rooms: list[_Room] = []
        self._pools: list[_Pool] = []
        self._members = defaultdict[tuple[str, str | None], list[_Pool]](list)
        """Every pool of a type, in one folder or (None) in all."""
        self._by_free = defaultdict[tuple[str, str | None, int], list[int]](list)
        """Likewise, those with so many GPUs free: a heap of pool numbers."""
        self._by_slots = defaultdict[tuple[bool, str | None], list[tuple[int, int]]](list)
        """Hosts with or without GPUs: a heap of (-free slots, room number)."""
        for each in sorted(places, key=lambda place: place.host):
            self._add(each)
        self._largest = max((pool.total for pool in self._pools), default=0)
        self._types = sorted({pool.type for pool in self._pools})
        self._fitting: dict[str | None, tuple[str, ...]] = {}
        self._most: dict[_Kind, int] = {}
        self._blocked: dict[_Kind, int] = {}
        """In this round, the smallest number of GPUs that was not to be had."""
        self._heads = set[_Kind]()
        """In this round, for what GPUs somebody is already first in line."""
        self._kept: list[_Pool] = []

    def settle(self, wishes: Iterable[Wish]) -> Plan:
        """Give them what they can have now; they hold it until it is released."""
        decisions = [decision for wish in sorted(wishes, key=lambda each: each.rank) if (decision := self._place(wish))]
        kept = [Kept(pool.kept_for, pool.room.host, pool.type) for pool in self._kept if pool.kept_for is not None]
        for pool in self._kept:
            pool.kept_for = None
            self._show(pool.room)
        self._kept.clear()
        self._blocked.clear()
        self._heads.clear()
        return Plan(decisions, kept)

    def release(self, host: HostName, gpus: Sequence[Gpu]) -> None:
        """Take back a slot and these GPUs of a host; they can be given away again."""
        room = next(room for room in self._rooms if room.host == host)
        room.slots += 1
        for pool in room.pools:
            pool.free = sorted([*pool.free, *(gpu for gpu in gpus if gpu.type == pool.type)], key=lambda gpu: gpu.number)
        self._show(room)

    def _add(self, place: Place) -> None:
        room = _Room(len(self._rooms), place.host, place.folder, place.slots, has_gpus=bool(place.gpus), pools=[])
        self._rooms.append(room)
        for type_, gpus in pools_of(place.gpus).items():
            pool = _Pool(len(self._pools), room, type_, len(gpus), [gpu for gpu in gpus if gpu.holder is None])
            self._pools.append(pool)
            room.pools.append(pool)
            self._members[type_, None].append(pool)
            self._members[type_, place.folder].append(pool)
        self._show(room)

    def _show(self, room: _Room) -> None:
        """Let the room be found by what it has now."""
        if room.slots <= 0:
            return
        for folder in (None, room.folder):
            heappush(self._by_slots[room.has_gpus, folder], (-room.slots, room.number))
            for pool in room.pools:
                if pool.free:
                    heappush(self._by_free[pool.type, folder, len(pool.free)], pool.number)

    def _place(self, wish: Wish) -> Decision | None:
        needed = wish.gpus
        if needed == 0:
            return self._give(wish, self._room_for(wish, has_gpus=False) or self._room_for(wish, has_gpus=True))
        kind = (self._types_for(wish.resources.gpu_type), wish.folder)
        count = 1 if needed is None else needed
        pool = self._tightest(kind, count) if wish.slots else self._preferred(wish, kind, count)
        if pool is not None:
            return self._give(wish, pool.room, pool, count)
        room = self._room_for(wish, has_gpus=False) if needed is None else None
        if room is None:
            self._keep_back(wish, kind, count)
        return self._give(wish, room)

    def _give(self, wish: Wish, room: _Room | None, pool: _Pool | None = None, count: int = 0) -> Decision | None:
        if room is None:
            return None
        gpus = list[Gpu]()
        if pool is not None:
            if _holds(pool, wish.preferred_gpu):
                pool.free.sort(key=lambda gpu: (gpu.number != wish.preferred_gpu, gpu.number))
            gpus = pool.free[:count]
            del pool.free[:count]
        room.slots -= wish.slots
        self._show(room)
        return Decision(wish.process_id, room.host, gpus)

    def _types_for(self, wanted: str | None) -> tuple[str, ...]:
        if wanted not in self._fitting:
            self._fitting[wanted] = tuple(type_ for type_ in self._types if fits(wanted, type_))
        return self._fitting[wanted]

    def _room_for(self, wish: Wish, *, has_gpus: bool) -> _Room | None:
        """A host for one that needs no GPU; who takes no slot goes where most are free, too, but need not wait for one."""
        if wish.slots:
            return self._roomiest(wish.folder, has_gpus=has_gpus)
        able = [room for room in self._rooms if room.has_gpus is has_gpus and wish.folder in {None, room.folder}]
        return max(able, key=lambda room: room.slots, default=None)

    def _preferred(self, wish: Wish, kind: _Kind, count: int) -> _Pool | None:
        """For one that takes no slot: the pool with the GPU that it prefers, else the one with the fewest free that are enough."""
        able = [pool for pool in self._pools_of(kind) if pool.kept_for is None and len(pool.free) >= count]
        return min(able, key=lambda pool: (not _holds(pool, wish.preferred_gpu), len(pool.free), pool.number), default=None)

    def _roomiest(self, folder: str | None, *, has_gpus: bool) -> _Room | None:
        """The host with the most free slots."""
        heap = self._by_slots.get((has_gpus, folder))
        while heap:
            slots, number = heap[0]
            if self._rooms[number].slots == -slots:
                return self._rooms[number]
            heappop(heap)
        return None

    def _tightest(self, kind: _Kind, count: int) -> _Pool | None:
        """The pool with the fewest free GPUs that are enough. What was not to be had in this round will not be later in it."""
        if count >= self._blocked.get(kind, maxsize):
            return None
        types, folder = kind
        for free in range(count, self._largest + 1):
            tops = [top for type_ in types if (top := self._first_with(type_, folder, free)) is not None]
            if tops:
                return self._pools[min(tops)]
        self._blocked[kind] = count
        return None

    def _first_with(self, type_: str, folder: str | None, free: int) -> int | None:
        heap = self._by_free.get((type_, folder, free))
        while heap:
            pool = self._pools[heap[0]]
            if len(pool.free) == free and pool.kept_for is None and pool.room.slots > 0:
                return pool.number
            heappop(heap)
        return None

    def _keep_back(self, wish: Wish, kind: _Kind, count: int) -> None:
        """Keep the pool for it in which the least is missing, if it is the first to wait for such GPUs."""
        if kind in self._heads or count > self._most_of(kind):
            return
        self._heads.add(kind)
        able = [pool for pool in self._pools_of(kind) if pool.total >= count and pool.kept_for is None]
        if able:
            pool = min(able, key=lambda each: (*missing(count, len(each.free), each.room.slots if wish.slots else 1), each.number))
            pool.kept_for = wish
            self._kept.append(pool)

    def _most_of(self, kind: _Kind) -> int:
        if kind not in self._most:
            self._most[kind] = max((pool.total for pool in self._pools_of(kind)), default=0)
        return self._most[kind]

    def _pools_of(self, kind: _Kind) -> Iterable[_Pool]:
        types, folder = kind
        return (pool for type_ in types for pool in self._members.get((type_, folder), ()))


def _holds(pool: _Pool, number: int | None) -> bool:
    """Whether that very GPU is free there."""
    return number is not None and any(gpu.number == number for gpu in pool.free)


def missing(count: int, free: int, slots: int) -> tuple[int, bool]:
    """How far a pool is from being enough for so many GPUs: what is missing, a slot counted as one; of equals, one with a slot."""
    return max(count - free, 0) + (slots <= 0), slots <= 0
