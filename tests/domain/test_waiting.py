"""Why a process waits: the reason, the sentence in both languages, who holds what it needs, and when it may start."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from time import process_time
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from domain.hosts.gpu import Gpu
from domain.ids import HostName, ProcessId
from domain.processes.placement import Place, Wish
from domain.processes.process import Resources
from domain.processes.waiting import Holder, Reason, Waiting, explain
from tests.things import AT

A100, H100 = "NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3"


def a_wish(gpus: int | None = None, gpu_type: str | None = None, *, name: str = "me", age: int = 0, folder: str | None = None) -> Wish:
    return Wish(ProcessId(name), 0, AT - timedelta(seconds=age), Resources(gpu_count=gpus, gpu_type=gpu_type), folder)


def a_place(host: str = "gpu-1", gpus: int = 8, type_: str = A100, *, held: Sequence[str] = (), slots: int = 8, folder: str = "f") -> Place:
    """Return a host; `held` names who holds its GPUs, one each, from the first on."""
    return Place(
        HostName(host),
        folder,
        slots,
        [
            Gpu(host=HostName(host), number=number, type=type_, holder=ProcessId(held[number]) if number < len(held) else None)
            for number in range(gpus)
        ],
    )


def a_holder(name: str, progress: float, *, host: str = "gpu-1", minutes: float = 60) -> Holder:
    """Return one that started so many minutes ago."""
    return Holder(ProcessId(name), f"run_{name}", name, HostName(host), 1, progress, AT - timedelta(minutes=minutes))


def explained(wish: Wish, *places: Place, ahead: Sequence[Wish] = (), holders: Sequence[Holder] = (), **facts: Any) -> Waiting:
    given: dict[str, Any] = {"position": len(ahead) + 1, "now": AT, "not_before": None}
    return explain(wish, ahead, places, holders, **(given | facts))


def in_minutes(minutes: float) -> datetime:
    return AT + timedelta(minutes=minutes)


def test_with_no_host_it_says_what_to_start() -> None:
    waiting = explained(a_wish())

    assert (Reason.no_host, 1, [], None) == (waiting.reason, waiting.position, waiting.holders, waiting.starts_at)
    assert waiting.text_en.startswith("no host is accepting work: start `tuneyard worker` on one, or let a drained host")
    assert waiting.text_zh.startswith("没有主机在接收任务：请在主机上运行 `tuneyard worker`")


def test_with_no_host_of_its_folder_it_says_so() -> None:
    waiting = explained(a_wish(0, folder="g"), a_place(folder="f"))

    assert Reason.no_host == waiting.reason
    assert waiting.text_en.startswith("no host with its training folder is accepting work")
    assert waiting.text_zh.startswith("没有能访问其训练目录的主机在接收任务")


def test_hosts_that_are_drained_or_lost_are_named_when_they_alone_would_do() -> None:
    waiting = explained(a_wish(8, "A100"), a_place("gpu-1", 4), away=[a_place("gpu-2", 8), a_place("gpu-3", 2)])
    enough = explained(a_wish(4, "A100"), a_place("gpu-1", 4), away=[a_place("gpu-2", 8)])
    elsewhere = explained(a_wish(8, folder="g"), away=[a_place("gpu-2", 8, folder="f")])

    assert [Reason.hosts_away, Reason.about_to_start, Reason.no_host] == [each.reason for each in (waiting, enough, elsewhere)]
    assert waiting.text_en.startswith("needs 8 GPUs of type A100; gpu-2, where that is, cannot take it")
    assert waiting.text_zh.startswith("需要 8 块 A100 GPU；能满足的主机 gpu-2 已停止接收或失联")


def test_more_than_any_host_has_names_the_most_that_there_is() -> None:
    waiting = explained(a_wish(16, "A100"), a_place("gpu-1", 4), a_place("gpu-2", 8))

    assert (Reason.never, None) == (waiting.reason, waiting.starts_at)
    assert waiting.text_en.startswith("needs 16 GPUs of type A100; the most that any host offers is 8 (gpu-2). Ask for less")
    assert waiting.text_zh.startswith("需要 16 块 A100 GPU；单台主机最多提供 8 块（gpu-2）。请减少需求")


def test_a_type_that_nobody_has_names_those_that_there_are() -> None:
    waiting = explained(a_wish(1, "V100"), a_place("gpu-1"), a_place("gpu-2", type_=H100))
    bare = explained(a_wish(1), a_place(gpus=0))

    assert [Reason.never, Reason.never] == [waiting.reason, bare.reason]
    assert f"needs 1 GPU of type V100; no host offers such GPUs, there are {A100} and {H100}. " in waiting.text_en
    assert f"需要 1 块 V100 GPU；没有主机提供这种 GPU，现有 {A100}、{H100}。" in waiting.text_zh
    assert "needs 1 GPU; no host offers GPUs. " in bare.text_en
    assert "需要 1 块 GPU；没有主机提供 GPU。" in bare.text_zh


def test_gpus_that_are_set_aside_are_mentioned_where_they_are_missed() -> None:
    host = a_place(gpus=2)
    host = replace(host, gpus=[host.gpus[0], replace(host.gpus[1], set_aside="could not be killed")])

    waiting = explained(a_wish(2), host)

    assert Reason.never == waiting.reason
    assert "the most that any host offers is 1 (gpu-1); 1 GPU set aside" in waiting.text_en
    assert "单台主机最多提供 1 块（gpu-1）；另有 1 块被隔离" in waiting.text_zh


def test_taken_gpus_name_who_holds_them_and_how_far_they_are() -> None:
    places = [a_place("gpu-1", held=["run-001", "run-001", "run-002"]), a_place("gpu-2", held=["run-003"] * 8)]
    holders = [a_holder("run-003", 0.9, host="gpu-2"), a_holder("run-002", 0.1), a_holder("run-001", 0.62)]

    waiting = explained(a_wish(8, "A100"), *places, holders=holders)

    assert Reason.gpus_taken == waiting.reason
    assert "needs 8 GPUs of type A100; gpu-1 has 5 free, the others are held by run-001 (62%) and run-002 (10%)" == waiting.text_en
    assert "需要 8 块 A100 GPU；gpu-1 有 5 块空闲，其余由 run-001（62%）、run-002（10%）占用" == waiting.text_zh
    assert ["run-001", "run-002"] == [each.name for each in waiting.holders]


def test_equal_hosts_are_named_together_and_the_first_to_end_come_first() -> None:
    places = [a_place(f"gpu-{number}", 2, held=[f"run-{number}"] * 2) for number in range(7)]
    holders = [a_holder(f"run-{number}", 0.1 * (number + 1), host=f"gpu-{number}") for number in range(7)]

    waiting = explained(a_wish(), *places, holders=holders)

    assert (
        "needs 1 GPU; gpu-0, gpu-1, gpu-2 and 4 more have none free, all are held by run-6 (70%), run-5 (60%), run-4 (50%) and 4 more"
        == (waiting.text_en)
    )
    assert "需要 1 块 GPU；gpu-0、gpu-1、gpu-2 等 7 台主机没有空闲的，全部由 run-6（70%）、run-5（60%）、run-4（50%） 等 7 个任务占用" == (
        waiting.text_zh
    )
    assert [f"run-{number}" for number in (6, 5, 4, 3, 2)] == [each.name for each in waiting.holders]


def test_taken_slots_are_told_from_taken_gpus() -> None:
    for_gpus = explained(a_wish(2), a_place(slots=0), holders=[a_holder("run-001", 0.5)])
    for_none = explained(a_wish(), a_place(gpus=0, slots=0))

    assert [Reason.slots_taken, Reason.slots_taken] == [for_gpus.reason, for_none.reason]
    assert "needs 2 GPUs; every slot of gpu-1 is taken by run-001 (50%)" == for_gpus.text_en
    assert "需要 2 块 GPU；gpu-1 的运行名额已满，由 run-001（50%）占用" == for_gpus.text_zh
    assert "needs a slot; every slot of gpu-1 is taken" == for_none.text_en
    assert "需要一个运行名额；gpu-1 的运行名额已满，全部被占用" == for_none.text_zh


def test_what_is_kept_for_one_ahead_says_for_whom() -> None:
    place = a_place(held=["run-001"] * 5)

    waiting = explained(a_wish(1), place, ahead=[a_wish(8, "A100", name="large", age=9)], holders=[a_holder("run-001", 0.5)])

    assert (Reason.kept_back, 2) == (waiting.reason, waiting.position)
    assert "needs 1 GPU; gpu-1 has 3 free, kept for one ahead in the queue that needs 8 GPUs of type A100" == waiting.text_en
    assert "需要 1 块 GPU；gpu-1 有 3 块空闲，为排在前面、需要 8 块 A100 GPU 的任务保留" == waiting.text_zh
    assert ["run-001"] == [each.name for each in waiting.holders]


def test_what_those_ahead_take_first_says_how_many_they_are() -> None:
    ahead = [a_wish(4, name=str(number), age=9) for number in range(2)]

    waiting = explained(a_wish(1), a_place(), ahead=ahead)
    slots = explained(a_wish(0), a_place(gpus=0, slots=1), ahead=[a_wish(0, name="other", age=9)])

    assert [Reason.kept_back, Reason.kept_back] == [waiting.reason, slots.reason]
    assert "needs 1 GPU; gpu-1 has 8 free, but 2 ahead in the queue come first" == waiting.text_en
    assert "needs a slot; gpu-1 has room, but 1 ahead in the queue comes first" == slots.text_en
    assert "需要一个运行名额；gpu-1 有名额，但前面还有 1 个任务" == slots.text_zh


def test_an_attempt_that_is_not_due_says_when_it_is() -> None:
    due = AT + timedelta(seconds=30)

    waiting = explained(a_wish(1), a_place(), not_before=due)
    late = explained(a_wish(1), a_place(), not_before=AT)

    assert (Reason.retry_later, due) == (waiting.reason, waiting.starts_at)
    assert waiting.text_en.endswith("the next is due at 2025-11-20 08:31:29 UTC")
    assert waiting.text_zh.endswith("下次尝试不早于 2025-11-20 08:31:29 UTC")
    assert Reason.about_to_start == late.reason


def test_with_room_it_is_about_to_start() -> None:
    waiting = explained(a_wish(1), a_place())

    assert (Reason.about_to_start, AT) == (waiting.reason, waiting.starts_at)
    assert ("there is room on gpu-1; it starts in a moment", "gpu-1 有空位，即将启动") == (waiting.text_en, waiting.text_zh)


def test_it_starts_when_the_last_that_it_needs_is_expected_to_end() -> None:
    place = a_place(held=["a"] * 4 + ["b"] * 2)
    holders = [a_holder("a", 0.5), a_holder("b", 0.75)]

    assert in_minutes(20) == explained(a_wish(4), place, holders=holders).starts_at
    assert in_minutes(60) == explained(a_wish(8), place, holders=holders).starts_at
    assert in_minutes(20) == explained(a_wish(0), replace(place, slots=0), holders=holders).starts_at


def test_those_ahead_start_first_and_stay() -> None:
    place = a_place(gpus=2, held=["a", "b"])
    holders = [a_holder("a", 0.5), a_holder("b", 0.75)]
    small, large = a_wish(1, name="small", age=9), a_wish(2, name="large", age=9)

    assert in_minutes(60) == explained(a_wish(1), place, ahead=[small], holders=holders).starts_at
    assert explained(a_wish(1), place, ahead=[large], holders=holders).starts_at is None


@pytest.mark.parametrize(("progress", "expected"), [(0.05, None), (0.1, in_minutes(540)), (1.0, AT), (1.2, AT), (0.0, None)], ids=str)
def test_the_end_follows_from_progress_once_there_is_some(progress: float, expected: datetime | None) -> None:
    assert expected == explained(a_wish(1), a_place(gpus=1, held=["a"]), holders=[a_holder("a", progress)]).starts_at


def test_there_is_no_estimate_where_nothing_can_be_known() -> None:
    place = a_place(gpus=1, held=["a"])
    holder = a_holder("a", 0.5)

    assert explained(a_wish(1), place).starts_at is None
    assert explained(a_wish(1), place, holders=[replace(holder, started_at=None)]).starts_at is None
    assert explained(a_wish(1), place, holders=[replace(holder, host=HostName("gone"))]).starts_at is None
    assert explained(a_wish(1), place, holders=[holder], position=200).starts_at is None


def test_one_far_behind_is_not_said_to_start_because_only_few_of_those_ahead_are_known() -> None:
    waiting = explained(a_wish(1), a_place(), position=3_000)

    assert (Reason.kept_back, 3_000) == (waiting.reason, waiting.position)
    assert waiting.text_en.endswith("but 2999 ahead in the queue come first")


def test_it_goes_over_the_wire() -> None:
    waiting = explained(a_wish(1), a_place(gpus=1, held=["a"]), holders=[a_holder("a", 0.5)])

    assert waiting == msgspec.json.decode(msgspec.json.encode(waiting), type=Waiting)


def test_an_explanation_in_a_large_yard_takes_no_time_that_a_reader_would_notice() -> None:
    names = [f"run-{number:03}" for number in range(500)]
    places = [a_place(f"gpu-{number:04}", held=[names[number % 500]] * 8) for number in range(1_000)]
    holders = [a_holder(name, 0.1 + number / 1_000, host=f"gpu-{number:04}") for number, name in enumerate(names)]
    ahead = [a_wish(8, name=f"ahead-{number}", age=9) for number in range(50)]

    began = process_time()
    waiting = explained(a_wish(1), *places, ahead=ahead, holders=holders)
    took = process_time() - began

    assert Reason.gpus_taken == waiting.reason
    assert took < 1.0
