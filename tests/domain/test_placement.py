"""What goes where: priority and age, pools, best fit, what is kept back for whom, and how long it takes."""

import random
from collections.abc import Iterable, Sequence
from datetime import timedelta
from time import process_time

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.hosts.gpu import Gpu, fits
from domain.ids import HostName, ProcessId
from domain.processes.placement import Allocator, Decision, Place, Wish, place
from domain.processes.process import Resources
from tests.things import AT

A100, H100 = "NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3"
OTHER = ProcessId("proc_other")


def a_wish(
    name: str, gpus: int | None = None, gpu_type: str | None = None, *, priority: int = 0, age: int = 0, folder: str | None = None
) -> Wish:
    resources = Resources(gpu_count=gpus, gpu_type=gpu_type)
    return Wish(ProcessId(name), priority, AT - timedelta(seconds=age), resources, folder)


def a_place(host: str, *types: str, taken: int = 0, slots: int = 8, folder: str = "f") -> Place:
    """Return a host with GPUs of these types, the last `taken` of them held by another."""
    free = len(types) - taken
    gpus = [
        Gpu(host=HostName(host), number=number, type=type_, holder=None if number < free else OTHER) for number, type_ in enumerate(types)
    ]
    return Place(HostName(host), folder, slots, gpus)


def in_turn(*wishes: Wish) -> list[Wish]:
    """Return them made one after another."""
    return [replace(wish, created_at=AT + timedelta(seconds=number)) for number, wish in enumerate(wishes)]


def placed(wishes: Iterable[Wish], *places: Place) -> list[tuple[str, str, list[int]]]:
    return [(each.process_id, each.host, [gpu.number for gpu in each.gpus]) for each in place(wishes, places)]


def test_priority_comes_first_and_then_age() -> None:
    wishes = [a_wish("young"), a_wish("old", age=9), a_wish("urgent", priority=1), a_wish("unimportant", priority=-1, age=99)]

    assert [("urgent", "a", []), ("old", "a", [])] == placed(wishes, a_place("a", slots=2))


def test_without_gpus_it_goes_where_most_slots_are_free_and_no_gpus_stand() -> None:
    wishes = in_turn(*(a_wish(str(number), 0) for number in range(5)))

    hosts = [host for _, host, _ in placed(wishes, a_place("a", slots=2), a_place("b", slots=3), a_place("g", A100, slots=9))]

    assert ["b", "a", "b", "a", "b"] == hosts
    assert [("0", "g", [])] == placed(wishes[:1], a_place("a", slots=0), a_place("g", A100))


def test_the_tightest_pool_that_is_enough_is_taken() -> None:
    places = [a_place("a", *[A100] * 8), a_place("b", *[A100] * 8, taken=5), a_place("c", *[A100] * 8, taken=6)]

    assert [("p", "c", [0, 1])] == placed([a_wish("p", 2)], *places)
    assert [("p", "b", [0, 1, 2])] == placed([a_wish("p", 3)], *places)
    assert [("p", "a", [0, 1, 2, 3])] == placed([a_wish("p", 4)], *places)


def test_gpus_of_one_process_are_of_one_type_and_of_the_wanted_one() -> None:
    mixed = a_place("a", A100, H100, A100, H100)

    assert [("p", "a", [1, 3])] == placed([a_wish("p", 2, "H100")], mixed)
    assert [] == placed([a_wish("p", 3)], mixed)
    assert [] == placed([a_wish("p", 1, "V100")], mixed)


def test_no_count_is_one_gpu_where_there_are_some_and_else_none() -> None:
    free, taken, bare = a_place("g", A100), a_place("g", A100, taken=1), a_place("bare")

    assert [("p", "g", [0])] == placed([a_wish("p")], free, bare)
    assert [("p", "bare", [])] == placed([a_wish("p")], taken, bare)
    assert [] == placed([a_wish("p")], taken)


def test_who_names_a_type_and_no_count_needs_one_of_it() -> None:
    assert [] == placed([a_wish("p", None, "H100")], a_place("g", A100), a_place("bare"))
    assert [("p", "g", [0])] == placed([a_wish("p", None, "h100")], a_place("g", H100), a_place("bare"))


def test_only_hosts_with_its_folder_will_do() -> None:
    places = [a_place("a", A100, folder="f"), a_place("b", A100, A100, folder="g")]

    assert [("p", "b", [0])] == placed([a_wish("p", 1, folder="g")], *places)
    assert [] == placed([a_wish("p", 1, folder="elsewhere"), a_wish("q", 0, folder="elsewhere")], *places)


def test_every_process_takes_a_slot() -> None:
    wishes = in_turn(a_wish("p", 1), a_wish("q", 1), a_wish("r", 0))

    assert [("p", "a", [0])] == placed(wishes, a_place("a", A100, A100, slots=1))
    assert [] == placed(wishes, a_place("a", A100, A100, slots=-2))


def test_a_gpu_that_is_set_aside_counts_for_nothing() -> None:
    host = a_place("a", A100, A100)
    host = replace(host, gpus=[replace(host.gpus[0], set_aside="could not be killed"), host.gpus[1]])

    assert [("small", "a", [1])] == placed(in_turn(a_wish("large", 2), a_wish("small", 1)), host)


def test_what_no_host_can_ever_satisfy_holds_nobody_up() -> None:
    wishes = in_turn(a_wish("too large", 9), a_wish("no such type", 1, "V100"), a_wish("elsewhere", 8, folder="g"), a_wish("small", 1))

    assert [("small", "a", [0])] == placed(wishes, a_place("a", *[A100] * 8))


def test_the_pool_nearest_to_enough_is_kept_for_a_blocked_one_and_the_others_go_around_it() -> None:
    near, far = a_place("near", *[A100] * 8, taken=2), a_place("far", *[A100] * 8, taken=5)
    wishes = in_turn(a_wish("large", 8), *(a_wish(str(number), 1) for number in range(9)))

    assert [(str(number), "far", [number]) for number in range(3)] == placed(wishes, near, far)


def test_those_ahead_of_a_blocked_one_may_take_what_is_later_kept_for_it() -> None:
    wishes = in_turn(a_wish("first", 3), a_wish("large", 8), a_wish("last", 1))

    assert [("first", "a", [0, 1, 2])] == placed(wishes, a_place("a", *[A100] * 8, taken=2))


def test_each_wanted_type_has_one_pool_kept() -> None:
    a, b, h = (a_place(name, *[type_] * 8, taken=4) for name, type_ in (("a", A100), ("b", A100), ("h", H100)))
    wishes = in_turn(a_wish("p", 8, "A100"), a_wish("q", 8, "A100"), a_wish("r", 8, "H100"), a_wish("s", 4, "H100"), a_wish("t", 4))

    assert [("t", "b", [0, 1, 2, 3])] == placed(wishes, a, b, h)


def test_a_blocked_one_in_one_folder_does_not_leave_another_folder_unguarded() -> None:
    f, g = a_place("f", *[A100] * 8, taken=1, folder="f"), a_place("g", *[A100] * 8, taken=1, folder="g")
    wishes = in_turn(a_wish("p", 8, folder="f"), a_wish("q", 8, folder="g"), a_wish("r", 1), a_wish("s", 0))

    assert [("s", "f", [])] == placed(wishes, f, g)


def test_an_endless_stream_of_small_ones_does_not_starve_a_large_one() -> None:
    allocator = Allocator([a_place("a", *[A100] * 8, slots=9), a_place("b", *[A100] * 8, slots=9)])
    running = allocator.settle(a_wish(f"first-{number}", 1) for number in range(16)).decisions
    random.Random(7).shuffle(running)
    waiting = [a_wish("large", 8, age=1)]

    for turn in range(16):
        waiting.append(a_wish(f"small-{turn:02}", 1))
        ended = running.pop(0)
        allocator.release(ended.host, ended.gpus)
        started = allocator.settle(waiting).decisions
        running += started
        waiting = [wish for wish in waiting if wish.process_id not in {decision.process_id for decision in started}]

    assert "large" in {decision.process_id for decision in running}
    assert 16 > len(waiting), "the others went around it"


TYPES = st.sampled_from((A100, H100))
WISHES = st.lists(
    st.builds(
        a_wish,
        st.uuids().map(str),
        st.sampled_from((None, 0, 1, 1, 2, 4, 5)),
        st.sampled_from((None, None, "A100", "H100", "V100")),
        priority=st.integers(0, 1),
        age=st.integers(0, 3),
        folder=st.sampled_from((None, None, None, "f", "g", "nowhere")),
    ),
    max_size=14,
    unique_by=lambda wish: wish.process_id,
)


@st.composite
def yards(draw: st.DrawFn) -> list[Place]:
    places = []
    for name in "abcd"[: draw(st.integers(0, 4))]:
        kinds = draw(st.lists(TYPES, max_size=5))
        gpus = [
            Gpu(
                host=HostName(name),
                number=number,
                type=type_,
                holder=draw(st.sampled_from((None, None, OTHER))),
                set_aside=draw(st.sampled_from((None, None, None, "broken"))),
            )
            for number, type_ in enumerate(kinds)
        ]
        places.append(Place(HostName(name), draw(st.sampled_from("fg")), draw(st.integers(-1, 5)), gpus))
    return places


@given(WISHES, yards())
def test_nothing_is_given_twice_or_to_whom_it_does_not_fit(wishes: list[Wish], places: list[Place]) -> None:
    asked, there = {wish.process_id: wish for wish in wishes}, {each.host: each for each in places}

    decisions = place(wishes, places)

    given_away = [(gpu.host, gpu.number) for decision in decisions for gpu in decision.gpus]
    assert len(given_away) == len(set(given_away))
    assert len(decisions) == len({decision.process_id for decision in decisions})
    for host in there.values():
        assert sum(decision.host == host.host for decision in decisions) <= max(host.slots, 0)
    for decision in decisions:
        wish, host = asked[decision.process_id], there[decision.host]
        assert wish.folder in {None, host.folder}
        assert all(gpu in host.gpus and gpu.free and fits(wish.resources.gpu_type, gpu.type) for gpu in decision.gpus)
        assert len({gpu.type for gpu in decision.gpus}) <= 1
        assert len(decision.gpus) == (bool(host.gpus) if wish.gpus is None else wish.gpus)


@given(WISHES, yards(), st.randoms(use_true_random=False))
def test_the_order_of_what_is_asked_does_not_matter(wishes: list[Wish], places: list[Place], chance: random.Random) -> None:
    shuffled = [replace(each, gpus=chance.sample(each.gpus, len(each.gpus))) for each in chance.sample(places, len(places))]

    assert place(wishes, places) == place(chance.sample(wishes, len(wishes)), shuffled)


@given(WISHES, yards())
def test_nobody_behind_a_blocked_one_takes_from_the_pool_kept_for_it(wishes: list[Wish], places: list[Place]) -> None:
    plan = Allocator(places).settle(wishes)

    ranks = {wish.process_id: wish.rank for wish in wishes}
    assert not {kept.wish.process_id for kept in plan.kept} & {decision.process_id for decision in plan.decisions}
    assert len(plan.kept) == len({(kept.host, kept.type) for kept in plan.kept})
    for kept in plan.kept:
        behind = [decision for decision in plan.decisions if ranks[decision.process_id] > kept.wish.rank]
        assert not [gpu for decision in behind for gpu in decision.gpus if (gpu.host, gpu.type) == (kept.host, kept.type)]


@given(WISHES, yards())
def test_it_decides_as_a_plain_look_at_every_host_would(wishes: list[Wish], places: list[Place]) -> None:
    assert [(each.process_id, each.host, each.gpus) for each in place(wishes, places)] == plainly(wishes, places)


@given(WISHES, WISHES, yards(), st.randoms(use_true_random=False))
def test_what_is_released_can_be_had_as_if_it_had_never_been_given(
    wishes: list[Wish], later: list[Wish], places: list[Place], chance: random.Random
) -> None:
    allocator = Allocator(places)
    decisions = allocator.settle(wishes).decisions
    ended = chance.sample(decisions, chance.randint(0, len(decisions)))

    for decision in ended:
        allocator.release(decision.host, decision.gpus)

    left = [decision for decision in decisions if decision not in ended]
    assert Allocator([without(each, left) for each in places]).settle(later) == allocator.settle(later)


def without(host: Place, decisions: Iterable[Decision]) -> Place:
    """Return the host as it is once these processes live there."""
    mine = [decision for decision in decisions if decision.host == host.host]
    holders = {gpu.number: decision.process_id for decision in mine for gpu in decision.gpus}
    gpus = [replace(gpu, holder=gpu.holder or holders.get(gpu.number)) for gpu in host.gpus]
    return replace(host, slots=host.slots - len(mine), gpus=gpus)


def plainly(wishes: Sequence[Wish], places: Sequence[Place]) -> list[tuple[str, str, list[Gpu]]]:
    """Decide by the same rules in the plainest way: every host is looked at for every wish."""
    decisions, slots = [], {each.host: each.slots for each in places}
    pools = {(each.host, gpu.type): [other for other in each.gpus if other.type == gpu.type] for each in places for gpu in each.gpus}
    pools = {key: [gpu for gpu in gpus if gpu.set_aside is None] for key, gpus in pools.items()}
    free = {key: [gpu for gpu in gpus if gpu.holder is None] for key, gpus in pools.items()}
    kept, heads = set[tuple[str, str]](), set[object]()
    for wish in sorted(wishes, key=lambda each: each.rank):
        able = [each for each in places if wish.folder in {None, each.folder}]
        roomy = sorted((bool(each.gpus), -slots[each.host], each.host) for each in able if slots[each.host] > 0)
        need = 1 if wish.gpus is None else wish.gpus
        fitting = sorted(key for key in pools for each in able if key[0] == each.host and fits(wish.resources.gpu_type, key[1]))
        enough = [(len(free[key]), key) for key in fitting if len(free[key]) >= need and slots[key[0]] > 0 and key not in kept]
        if need and enough:
            _, key = min(enough)
            decisions.append((wish.process_id, key[0], free[key][:need]))
            free[key] = free[key][need:]
        elif roomy and (need == 0 or (wish.gpus is None and not roomy[0][0])):
            decisions.append((wish.process_id, roomy[0][2], []))
        else:
            large = [key for key in fitting if need and len(pools[key]) >= need]
            kind = (frozenset(type_ for _, type_ in pools if fits(wish.resources.gpu_type, type_)), wish.folder)
            if large and kind not in heads:
                heads.add(kind)
                short = [
                    (max(need - len(free[key]), 0) + (slots[key[0]] <= 0), slots[key[0]] <= 0, key) for key in large if key not in kept
                ]
                kept |= {min(short)[2]} if short else set()
            continue
        slots[decisions[-1][1]] -= 1
    return [(process, str(host), gpus) for process, host, gpus in decisions]


def test_ten_thousand_over_a_thousand_hosts_take_well_under_a_second() -> None:
    chance = random.Random(1)
    places = [a_place(f"{number:04}", *[(A100, H100)[number % 2]] * 8, taken=chance.choice((0, 4, 8))) for number in range(1_000)]
    wishes = [a_wish(str(n), chance.choice((1, 2, 4, 8)), chance.choice((None, "A100", "H100")), age=n) for n in range(10_000)]

    began = process_time()
    decisions = place(wishes, places)
    took = process_time() - began

    assert 1 <= len(decisions) < len(wishes)
    assert took < 1.0
