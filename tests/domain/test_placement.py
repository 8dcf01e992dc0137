"""What goes where, and why not."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from domain.ids import HostName, ProcessId
from domain.processes.placement import place
from domain.processes.process import Process, Resources
from tests.things import AT, a_host, a_process

NO_HOST = "no host is accepting work: start one with `tuneyard up` or `tuneyard worker`"
FULL = "every slot of every host is taken; it starts when a process there ends"


def waiting(name: str, priority: int = 0, age: int = 0, gpus: int | None = None, gpu_type: str | None = None) -> Process:
    resources = Resources(gpu_count=gpus, gpu_type=gpu_type)
    return a_process(id=ProcessId(name), priority=priority, created_at=AT - timedelta(seconds=age), resources=resources)


def placed(processes: list[Process], slots: dict[str, int], living: dict[str, int] | None = None) -> list[tuple[str, str | None]]:
    decisions = place(
        processes, [a_host(name, slots=count) for name, count in slots.items()], {HostName(n): c for n, c in (living or {}).items()}
    )
    return [(decision.process_id, decision.host) for decision in decisions]


def test_priority_comes_first_and_then_age() -> None:
    processes = [waiting("young"), waiting("old", age=9), waiting("urgent", priority=1), waiting("unimportant", priority=-1, age=99)]

    assert [("urgent", "a"), ("old", "a"), ("young", None), ("unimportant", None)] == placed(processes, {"a": 2})


def test_the_host_with_the_most_free_slots_takes_the_next_one() -> None:
    processes = [waiting(str(number), age=9 - number) for number in range(5)]

    assert ["b", "b", "b", "a", "b"] == [host for _, host in placed(processes, {"a": 4, "b": 4}, {"a": 2})]


def test_what_waits_says_why() -> None:
    (nowhere,) = place([waiting("p")], [], {})
    (refused,) = place([waiting("p")], [a_host("a", accepting=False)], {})
    (full,) = place([waiting("p")], [a_host("a", slots=1)], {HostName("a"): 1})
    (one,) = place([waiting("p", gpus=1)], [a_host("a")], {})
    (many,) = place([waiting("p", gpus=8, gpu_type="H100")], [a_host("a")], {})

    assert [NO_HOST, NO_HOST, FULL] == [each.reason for each in (nowhere, refused, full)]
    assert "no host offers 1 GPU of type any" == one.reason
    assert "no host offers 8 GPUs of type H100" == many.reason


def test_what_can_go_nowhere_holds_nobody_up() -> None:
    processes = [waiting("gpu", priority=9, gpus=1), waiting("plain")]

    assert [("gpu", None), ("plain", "a")] == placed(processes, {"a": 1})


def test_no_gpu_and_no_wish_are_both_at_home_anywhere() -> None:
    assert [("none", "a"), ("zero", "a")] == placed([waiting("none", age=1), waiting("zero", gpus=0)], {"a": 2})


def test_a_host_that_lost_slots_takes_nothing_until_it_has_room_again() -> None:
    assert [("p", None)] == placed([waiting("p")], {"a": 1}, {"a": 3})


@given(
    st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 5)), max_size=20),
    st.dictionaries(st.sampled_from("abc"), st.tuples(st.integers(0, 5), st.integers(0, 7)), max_size=3),
)
def test_every_process_is_decided_once_and_no_slot_is_given_twice(wishes: list[tuple[int, int]], hosts: dict[str, tuple[int, int]]) -> None:
    processes = [waiting(f"{number:02}", priority, age) for number, (priority, age) in enumerate(wishes)]
    free = {name: max(slots - living, 0) for name, (slots, living) in hosts.items()}

    decisions = placed(
        processes, {name: slots for name, (slots, _) in hosts.items()}, {name: living for name, (_, living) in hosts.items()}
    )

    assert sorted(process.id for process in processes) == sorted(name for name, _ in decisions)
    given_away = [host for _, host in decisions if host]
    assert all(given_away.count(name) <= room for name, room in free.items())
    assert min(len(processes), sum(free.values())) == len(given_away)
    ranks = [(-process.priority, process.created_at, process.id) for name, _ in decisions for process in processes if process.id == name]
    assert ranks == sorted(ranks)
    assert [host is not None for _, host in decisions] == sorted((host is not None for _, host in decisions), reverse=True)
