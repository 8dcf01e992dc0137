"""What a deployment may do, how its health is judged, and what its end means."""

from datetime import timedelta

import pytest

from domain.deployments.deployment import NEXT, DeploymentStatus, Restart
from domain.deployments.ending import judge
from domain.deployments.figures import read
from domain.deployments.health import LOST_AFTER, SICK_AFTER, Beat, Change, Pulse
from domain.deployments.source import tagged
from domain.errors import Conflict
from domain.processes.end import End
from domain.processes.failure import Failure, FailureClass
from domain.processes.log import LogChunk, Written, append
from domain.processes.ports import Exit
from domain.runs.artifact import TagName
from tests.things import AT, a_deployment, a_process

WELL, ILL = Beat(ok=True), Beat(ok=False, reason="/health answers 503")


@pytest.mark.parametrize("status", list(DeploymentStatus))
def test_a_deployment_takes_only_the_steps_of_its_table(status: DeploymentStatus) -> None:
    for wanted in DeploymentStatus:
        if wanted in NEXT[status]:
            assert wanted is a_deployment(status=status).to(wanted, AT).status
        else:
            with pytest.raises(Conflict, match=f"a deployment that is {status} cannot become {wanted}"):
                a_deployment(status=status).to(wanted, AT)


def test_one_that_stops_or_has_ended_has_no_further_attempt() -> None:
    for status in (DeploymentStatus.stopping, DeploymentStatus.stopped, DeploymentStatus.failed):
        with pytest.raises(Conflict):
            a_deployment(status=status).again(AT)


def test_the_next_attempt_has_no_place_and_no_health_yet() -> None:
    lived = a_deployment(status=DeploymentStatus.running, host="h", address="::1", port=8200, gpus=[1], health_ok=True, started_at=AT)

    again = lived.again(AT, restarts=1)

    assert (2, DeploymentStatus.queued, 1) == (again.attempt, again.status, again.restarts)
    assert not any((again.host, again.address, again.port, again.gpus, again.health_ok, again.started_at))


def test_the_backoff_doubles_up_to_five_minutes() -> None:
    first = timedelta(seconds=5)

    waits = [a_deployment(misfortunes=each).backoff(first).total_seconds() for each in (0, 1, 2, 6, 7, 4000)]

    assert [5, 10, 20, 300, 300, 300] == waits


def test_one_slow_answer_is_no_illness_and_one_good_one_a_cure() -> None:
    pulse = Pulse().after(WELL)
    for _ in range(SICK_AFTER - 1):
        pulse = pulse.after(ILL)
        assert pulse.healthy
    pulse = pulse.after(ILL)

    assert (False, False, "/health answers 503") == (pulse.healthy, pulse.lost, pulse.reason)
    for _ in range(LOST_AFTER - SICK_AFTER):
        pulse = pulse.after(ILL)
    assert pulse.lost
    assert Pulse(healthy=True) == pulse.after(WELL)


def test_what_was_never_well_does_not_become_so_by_few_failures() -> None:
    assert not Pulse().after(ILL).healthy


def test_the_history_of_health_keeps_changes_and_only_the_last() -> None:
    deployment = a_deployment()
    for number in range(50):
        deployment = deployment.felt(Change(at=AT, ok=number % 2 == 0)).felt(Change(at=AT, ok=number % 2 == 0))

    assert [number % 2 == 0 for number in range(30, 50)] == [change.ok for change in deployment.health]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("demo@release", ("demo", TagName.release)),
        ("demo@发布", ("demo", TagName.release)),
        ("a@b@候选", ("a@b", TagName.candidate)),
        ("demo@latest", ("demo@latest", None)),
        ("/models/x@release", ("/models/x@release", None)),
        ("@release", ("@release", None)),
        ("qwen", ("qwen", None)),
    ],
)
def test_a_tag_is_named_by_code_or_label_and_a_path_never_is_one(path: str, expected: tuple[str, TagName | None]) -> None:
    assert expected == tagged(path)


def ended(code: int | None = None, *, signal: int | None = None, attempt: int = 1) -> End:
    return End(attempt=attempt, began=True, exit=Exit(attempt=attempt, code=code, signal=signal, ended_at=1.0))


def said(*lines: bytes) -> LogChunk:
    return append(None, "d", 1, Written(lines=lines, at=AT))[-1]


def test_exit_0_of_a_server_that_nobody_asked_to_stop_is_a_failure() -> None:
    verdict = judge(a_deployment(answered_at=AT, healthy_at=AT), ended(0), None)

    assert verdict.again
    assert "exited with code 0, though nobody asked it to stop" in verdict.failure.reason


def test_what_once_answered_is_begun_anew_for_ever_and_what_never_did_three_times() -> None:
    assert [True, True, False, False] == [judge(a_deployment(attempt=each), ended(1, attempt=each), None).again for each in (1, 2, 3, 4)]
    assert judge(a_deployment(attempt=4000, answered_at=AT), ended(1, attempt=4000), None).again


def test_a_reason_that_lasts_is_not_tried_again() -> None:
    verdict = judge(a_deployment(), ended(1), said(b"ValueError: Model architectures ['X'] are not supported for now."))

    assert (False, FailureClass.bad_input) == (verdict.again, verdict.failure.failure_class)
    assert "不支持此模型的架构" in verdict.failure.reason


def test_nobody_restarts_what_shall_not_be_restarted() -> None:
    assert not judge(a_deployment(restart=Restart.never, answered_at=AT), ended(1), None).again


def test_why_a_server_was_condemned_goes_before_how_it_died() -> None:
    condemned = Failure(failure_class=FailureClass.timeout, reason="it did not answer /health within 5 s of its start")

    failure = judge(a_deployment(condemned=condemned), ended(signal=9), said(b"OSError: [Errno 98] Address already in use")).failure

    assert FailureClass.timeout is failure.failure_class
    assert failure.reason.startswith("it did not answer /health within 5 s of its start; ")
    assert "another program has its port" in failure.reason


def test_a_kill_in_the_middle_of_its_life_is_not_blamed_on_old_lines() -> None:
    lived = a_deployment(answered_at=AT, healthy_at=AT)

    assert "killed by signal 9" in judge(lived, ended(signal=9), said(b"WARNING CUDA out of memory, evicting")).failure.reason


def test_a_stop_that_is_asked_for_again_can_only_be_more_urgent() -> None:
    polite = a_process().asked_to_stop(AT, timedelta(seconds=30), kill=False, drain=timedelta(seconds=1))
    forced = polite.asked_to_stop(AT, timedelta(0))

    assert (30, 1, False) == (polite.stop_grace, polite.stop_drain, polite.stop_kill)
    assert (0, 0, True) == (forced.stop_grace, forced.stop_drain, forced.stop_kill)
    assert forced == forced.asked_to_stop(AT, timedelta(seconds=99), kill=False, drain=timedelta(seconds=9))


FIRST = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
vllm:num_requests_running{engine="0",model_name="tiny"} 2.0
vllm:num_requests_running{engine="1",model_name="tiny"} 1.0
vllm:num_requests_waiting{engine="0",model_name="tiny"} 4.0
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.5
vllm:kv_cache_usage_perc{engine="1",model_name="tiny"} 0.1
vllm:generation_tokens_total{engine="0",model_name="tiny"} 1.2e+03
vllm:generation_tokens_created{engine="0",model_name="tiny"} 1.79e+09
python_gc_objects_collected_total{generation="0"} 15765.0
"""


def test_a_few_figures_are_read_out_of_vllms_own() -> None:
    first = read(FIRST, at=10.0)
    second = read(FIRST.replace("1.2e+03", "1.3e+03"), at=14.0)

    alone = first.figures(None)
    assert (3.0, 4.0, None) == tuple(alone[each] for each in ("requests/running", "requests/waiting", "tokens/generated_per_second"))
    assert alone["cache/usage"] == pytest.approx(0.3)
    assert 25.0 == second.figures(first)["tokens/generated_per_second"]
    assert {} == read("nothing of the kind", at=1.0).figures(None)
