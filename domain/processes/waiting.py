"""Why a queued process waits, in words, and when it may start. Said when somebody asks; nothing of it is stored.

The start is estimated by letting those that hold GPUs and slots end one after another, as their progress foretells, and placing
what waits after each, by the very rules of placement. Where that cannot tell, there is no estimate.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from domain.hosts.gpu import Gpu, fits
from domain.ids import HostName, ProcessId
from domain.processes import sentences
from domain.processes.placement import Allocator, Kept, Place, Plan, Wish, missing, pools_of
from domain.processes.sentences import Named, Text
from domain.words import Word

MOST_AHEAD = 50
MOST_ENDS = 50
"""An estimate looks no further: whoever has more before it waits for what nobody can foretell."""
JUST_STARTED = 0.05
"""Up to here progress says nothing yet about how long the whole takes."""
MOST_HOLDERS = 5


class Reason(Word):
    """What keeps a process from starting."""

    no_host = ("no_host", "没有可用主机", "No host")
    hosts_away = ("hosts_away", "主机不可用", "Its hosts are away")
    never = ("never", "资源永远不够", "More than any host has")
    gpus_taken = ("gpus_taken", "GPU 被占用", "GPUs taken")
    slots_taken = ("slots_taken", "名额已满", "Slots taken")
    kept_back = ("kept_back", "为前面的任务保留", "Kept for one ahead")
    retry_later = ("retry_later", "等待重试", "Retries later")
    about_to_start = ("about_to_start", "即将启动", "About to start")


class Holder(Struct, frozen=True):
    """Somebody who holds what another waits for."""

    process_id: ProcessId
    owner_id: str
    name: str
    """What its owner is called."""
    host: HostName
    gpus: int
    progress: float | None
    """0 to 1; None for what ends only when somebody says so."""
    started_at: datetime | None

    def ends_at(self, now: datetime) -> datetime | None:
        """When it ends if it goes on as it went so far; None when it has only just begun."""
        if self.started_at is None or self.progress is None or self.progress <= JUST_STARTED:
            return None
        elapsed = max(now - self.started_at, timedelta(0))
        return now + elapsed * (max(1 - self.progress, 0) / self.progress)


class Waiting(Struct, frozen=True, kw_only=True):
    """Why it waits."""

    reason: Reason
    text_zh: str
    text_en: str
    position: int
    """In the queue; 1 is next."""
    holders: list[Holder] = []
    """Some of those on the hosts where the least is missing, the first to end first."""
    starts_at: datetime | None = None
    """An estimate; None where progress allows none."""


class _Offer(Struct, frozen=True):
    """Where the process may go: GPUs of one type of one host, or a host's slot alone."""

    place: Place
    needed: int
    """GPUs that it needs here."""
    type: str | None = None
    gpus: list[Gpu] = []
    slots: int = 1
    """That it takes here."""

    @property
    def free(self) -> int:
        """How many of the GPUs nobody holds."""
        return sum(gpu.free for gpu in self.gpus)

    @property
    def missing(self) -> tuple[int, bool]:
        """How far it is from being enough."""
        return missing(self.needed, self.free, self.place.slots if self.slots else 1)


class _End(Struct, frozen=True):
    """One that ends, and the GPUs that it leaves."""

    at: datetime
    host: HostName
    gpus: list[Gpu]


def explain(
    wish: Wish,
    ahead: Sequence[Wish],
    places: Sequence[Place],
    holders: Sequence[Holder],
    *,
    position: int,
    now: datetime,
    not_before: datetime | None,
    away: Sequence[Place] = (),
) -> Waiting:
    """Say what it waits for. `ahead` are the first of those before it; `position` counts all of them.

    `away` are the hosts that are drained, or of which nothing is heard.
    """
    able = [each for each in places if wish.folder in {None, each.folder}]
    offers = [offer for each in able for offer in _offers(wish, each)]
    enough = [offer for offer in offers if len(offer.gpus) >= offer.needed]
    absent = [each.host for each in away if wish.folder in {None, each.folder} and _suffices(wish, each)]
    if not enough and absent:
        return _waiting(Reason.hosts_away, sentences.hosts_away(_needs(wish), absent), position)
    if not able:
        return _waiting(Reason.no_host, sentences.no_host(folder=wish.folder is not None), position)
    if not enough:
        return _waiting(Reason.never, _never(wish, offers, able), position)
    allocator = Allocator(places)
    queue = [*ahead[:MOST_AHEAD], wish]
    plan = allocator.settle(queue)
    host = next((each.host for each in plan.decisions if each.process_id == wish.process_id and position == len(queue)), None)
    starts_at = now if host else _estimate(allocator, plan, queue, _ends(holders, places, now)) if position == len(queue) else None
    if not_before is not None and not_before > now:
        return _waiting(Reason.retry_later, sentences.retry_later(not_before), position, starts_at=starts_at and max(starts_at, not_before))
    if host is not None:
        return _waiting(Reason.about_to_start, sentences.about_to_start(host), position, starts_at=now)
    nearest = _nearest(enough)
    found = _holding(nearest, holders, now)
    reason, text = _blocked(wish, nearest, plan.kept, found, position)
    return _waiting(reason, text, position, holders=found[:MOST_HOLDERS], starts_at=starts_at)


def _suffices(wish: Wish, place: Place) -> bool:
    """Whether a host has enough, free or not."""
    return any(len(offer.gpus) >= offer.needed for offer in _offers(wish, place))


def _waiting(reason: Reason, text: Text, position: int, *, holders: Sequence[Holder] = (), starts_at: datetime | None = None) -> Waiting:
    return Waiting(reason=reason, text_zh=text.zh, text_en=text.en, position=position, holders=list(holders), starts_at=starts_at)


def _offers(wish: Wish, place: Place) -> list[_Offer]:
    """What a host has to offer, whether or not it is enough."""
    if wish.gpus == 0 or (wish.gpus is None and not place.gpus):
        return [_Offer(place, 0, slots=wish.slots)]
    needed = 1 if wish.gpus is None else wish.gpus
    return [
        _Offer(place, needed, type_, gpus, wish.slots)
        for type_, gpus in pools_of(place.gpus).items()
        if fits(wish.resources.gpu_type, type_)
    ]


def _never(wish: Wish, offers: Iterable[_Offer], places: Iterable[Place]) -> Text:
    largest = max(offers, key=lambda offer: len(offer.gpus), default=None)
    gpus = [gpu for each in places for gpu in each.gpus]
    types = sorted({gpu.type for gpu in gpus if gpu.set_aside is None})
    set_aside = sum(gpu.set_aside is not None and fits(wish.resources.gpu_type, gpu.type) for gpu in gpus)
    most, host = (len(largest.gpus), largest.place.host) if largest else (0, None)
    return sentences.never(_needs(wish), most, host, types, set_aside)


def _estimate(allocator: Allocator, plan: Plan, queue: Sequence[Wish], ends: Iterable[_End]) -> datetime | None:
    """Return the end after which the last in the queue is placed."""
    last = queue[-1].process_id
    for end in ends:
        placed = {decision.process_id for decision in plan.decisions}
        queue = [wish for wish in queue if wish.process_id not in placed]
        allocator.release(end.host, end.gpus)
        plan = allocator.settle(queue)
        if any(decision.process_id == last for decision in plan.decisions):
            return end.at
    return None


def _ends(holders: Iterable[Holder], places: Iterable[Place], now: datetime) -> list[_End]:
    """What comes free, where and when: the first ends that can be foretold."""
    held = {each.host: defaultdict[ProcessId, list[Gpu]](list) for each in places}
    for each in places:
        for gpu in each.gpus:
            if gpu.holder and gpu.set_aside is None:
                held[each.host][gpu.holder].append(gpu)
    foretold = [(at, each.process_id, each.host) for each in holders if each.host in held and (at := each.ends_at(now))]
    return [_End(at, host, held[host][process]) for at, process, host in sorted(foretold)[:MOST_ENDS]]


def _nearest(offers: Sequence[_Offer]) -> list[_Offer]:
    """Those where the least is missing."""
    least = min(offer.missing for offer in offers)
    return [offer for offer in offers if offer.missing == least]


def _holding(offers: Iterable[_Offer], holders: Iterable[Holder], now: datetime) -> list[Holder]:
    """Who holds GPUs there, or, where enough of them are free, the slots; the first to end first."""
    processes, hosts = set[ProcessId](), set[HostName]()
    for offer in offers:
        if offer.free >= offer.needed and offer.slots and offer.place.slots <= 0:
            hosts.add(offer.place.host)
        else:
            processes.update(gpu.holder for gpu in offer.gpus if gpu.holder)
    found = [each for each in holders if each.process_id in processes or each.host in hosts]
    unknown = datetime.max.replace(tzinfo=now.tzinfo)
    return sorted(found, key=lambda each: (each.ends_at(now) or unknown, each.process_id))


def _blocked(wish: Wish, nearest: Sequence[_Offer], kept: Iterable[Kept], holders: Sequence[Holder], position: int) -> tuple[Reason, Text]:
    """Say what is not to be had where the least is missing; these offers are alike in that."""
    first, hosts = nearest[0], list(dict.fromkeys(offer.place.host for offer in nearest))
    need = sentences.needs(first.needed, wish.resources.gpu_type)
    who = [Named(each.name, each.progress) for each in holders]
    if first.free < first.needed:
        return Reason.gpus_taken, sentences.gpus_taken(need, hosts, first.free, who)
    if first.slots and first.place.slots <= 0:
        return Reason.slots_taken, sentences.slots_taken(need, hosts, who)
    pools = {(offer.place.host, offer.type): offer for offer in nearest}
    for each in kept:
        if each.wish != wish and (offer := pools.get((each.host, each.type))):
            return Reason.kept_back, sentences.kept_back(need, [each.host], offer.free, _needs(each.wish), position - 1)
    if len({offer.free for offer in nearest}) > 1:
        hosts = [first.place.host]
    return Reason.kept_back, sentences.kept_back(need, hosts, first.free, None, position - 1)


def _needs(wish: Wish) -> Text:
    return sentences.needs(1 if wish.gpus is None else wish.gpus, wish.resources.gpu_type)
