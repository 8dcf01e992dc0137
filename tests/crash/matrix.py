"""The fault matrix: what may break while a run is where, what must still be true then, and the tests that prove it.

These are the cells that break naive code. Each test is known to fail without a mechanism of the house, by the name that
`mechanisms.py` gives it: `python -m tests.crash.mutations` takes them out one by one and shows it; with `--list` it prints this table.
"""

from msgspec import Struct


class Cell(Struct, frozen=True):
    """One fault in one state of a run."""

    fault: str
    state: str
    promise: str
    proofs: dict[str, str]
    """Test, as pytest names it → the mechanism without which it fails."""


TRAININGS = "tests/crash/test_trainings.py::test_"
WORKERS = "tests/crash/test_workers.py::test_"
DATABASES = "tests/crash/test_databases.py::test_"
RETRIED = "tests/crash/test_retried_requests.py::test_"
OUTPUT = "tests/crash/test_output.py::test_"
DISKS = "tests/crash/test_disks.py::test_"
LEFT = "tests/crash/test_left_behind.py::test_"
HOSTS = "tests/crash/test_hosts.py::test_"
BELLS = "tests/crash/test_bells.py::test_what_redis_does_not_ring_is_found_by_the_sweep"
SERVERS = "tests/crash/test_server_failpoints.py::test_a_server_may_die_there"
RUN_ROWS = "tests/contracts/test_database_runs.py::test_"
HOST_ROWS = "tests/contracts/test_database_hosts.py::test_"
FAILPOINTS = "tests/crash/test_failpoints.py::test_a_worker_may_die_there"
DOCKER = "tests/workers/test_docker_runs.py::test_"
LOCAL = "tests/contracts/test_local_executor.py::TestLocalExecutor::test_"
GONE = DATABASES + "a_database_that_is_gone_for_a_while_costs_nothing"

CELLS = [
    Cell(
        "API killed",
        "queued",
        "committed or not; a retry with the key gives the same run",
        {
            RETRIED + "an_api_killed_after_the_commit_answers_the_retry_with_the_same_run": "the deed and its answer are one transaction",
            RETRIED + "an_api_killed_at_any_moment_of_a_launch_leaves_one_run": "keys are heeded",
            SERVERS + "[access.once]": "the deed and its answer are one transaction",
        },
    ),
    Cell(
        "commit done, reply lost",
        "queued",
        "a retried request is the same request: same run, same body",
        {
            RETRIED + "the_same_launch_sent_by_hand_gets_the_lost_answer": "keys are heeded",
            RETRIED + "a_launch_whose_answer_was_lost_is_repeated_and_is_one_run": "the client repeats its key",
        },
    ),
    Cell(
        "worker killed",
        "starting",
        "lock held: adopted; not started: the same attempt launched; else the attempt is spent",
        {
            FAILPOINTS + "[runs.take]": "a start that was taken is still on hand",
            FAILPOINTS + "[worker.started]": "a start is claimed once",
        },
    ),
    Cell(
        "worker killed",
        "running",
        "adopted in under 5 s, the log goes on at the offset",
        {
            WORKERS + "a_killed_worker_costs_no_log_line[sqlite]": "the log goes on at the stored offset",
            WORKERS + "a_killed_worker_costs_no_log_line[postgresql]": "a dead worker's lease is taken over at once",
            FAILPOINTS + "[runs.said]": "lines and their offset are one transaction",
        },
    ),
    Cell(
        "worker killed",
        "cancelling",
        "goes on at the recorded phase and deadline",
        {WORKERS + "a_worker_killed_while_it_cancels_costs_no_second_grace": "the grace began when the command was first asked"},
    ),
    Cell(
        "worker frozen for three leases, then thawed",
        "starting",
        "the shim refuses, the database refuses",
        {
            WORKERS + "a_ghost_changes_nothing_whatever_it_was_about": "a start is claimed once",
            TRAININGS + "a_start_that_a_frozen_launch_holds_up_is_made_when_that_has_died": "a start is tried until it is made",
            RUN_ROWS + "a_ghost_changes_nothing[sqlite]": "every write of a worker holds the lease",
            RUN_ROWS + "a_ghost_changes_nothing[postgresql]": "every write of a worker holds the lease",
        },
    ),
    Cell(
        "worker frozen for three leases, then thawed",
        "running",
        "another worker of that host adopts; the ghost's writes change nothing",
        {
            WORKERS + "a_ghost_changes_nothing_whatever_it_was_about": "a lease that has run out may be taken over",
            HOST_ROWS + "what_a_ghost_wants_to_write_is_refused[postgresql]": "a beat is for one lease only",
        },
    ),
    Cell(
        "shim killed",
        "running",
        "the training goes on, condition shim_lost; an unknown exit code is never called success",
        {
            TRAININGS + "a_training_whose_shim_was_killed_goes_on_and_its_unknown_end_is_no_success": "an unknown end is no success",
            LOCAL + "a_killed_shim_leaves_the_training_running_and_costs_only_the_exit_code": "the command inherits the lock",
        },
    ),
    Cell(
        "container stopped, killed, out of memory",
        "running",
        "lock free and no exit.json: the cause comes from the engine and from the control group's counter",
        {
            DOCKER + "a_container_killed_under_a_run_is_the_infrastructures_failure": "the engine is asked what became of the container",
            DOCKER + "a_container_out_of_memory_is_told_from_a_failure_of_the_training": "the counter of kills for memory is read",
        },
    ),
    Cell(
        "docker daemon killed (live-restore)",
        "running",
        "nothing at all",
        {DOCKER + "an_engine_killed_under_a_run_changes_nothing_at_all": "life and output are read from files"},
    ),
    Cell(
        "docker daemon killed (live-restore)",
        "cancelling",
        "signals go by the host's pid",
        {DOCKER + "a_run_is_cancelled_with_its_checkpoint_while_the_engine_is_dead": "signals need no engine"},
    ),
    Cell(
        "Redis restarted, flushed, gone, 5 s slow",
        "queued",
        "found by the sweep",
        {
            BELLS + "[dead]": "a sweep looks at what is on hand",
            BELLS + "[forgetful]": "a sweep looks at what is on hand",
            BELLS + "[slow]": "a sweep looks at what is on hand",
        },
    ),
    Cell(
        "Redis restarted, flushed, gone, 5 s slow",
        "cancelling",
        "found by the sweep",
        {BELLS + "[dead]": "a look at a living process reads its row again"},
    ),
    Cell(
        "database restarted, killed",
        "running",
        "the log waits in its file, none of it is lost, no worker exits",
        {
            GONE + "[killed]": "a worker outlives its database",
            "tests/crash/test_parts.py::test_a_database_that_drops_every_connection_costs_no_log_line": "what was not stored is read again",
        },
    ),
    Cell(
        "database restarted, killed",
        "cancelling",
        "the grace runs on the local clock; the kill still happens",
        {GONE + "[killed]": "pressing to stop waits for nothing else"},
    ),
    Cell(
        "database silent (no reset)",
        "running",
        "dead connections are dropped, no restart is needed",
        {GONE + "[silent]": "a connection that gave no answer is not used again"},
    ),
    Cell(
        "database silent (no reset)",
        "finishing",
        "an ambiguous commit is safe",
        {
            DATABASES + "a_commit_that_a_worker_could_not_hear_of_stores_no_line_twice": "the log goes on at the stored offset",
            DATABASES + "an_end_whose_commit_a_worker_could_not_hear_of_is_one_end": "an end is settled once",
        },
    ),
    Cell(
        "database disk full",
        "cancelling",
        "the kill still happens",
        {DATABASES + "a_full_disk_of_the_database_leaves_no_half_rows_and_stops_no_kill": "pressing to stop waits for nothing else"},
    ),
    Cell(
        "GPU host cut off",
        "starting",
        "nothing is launched again on silence",
        {HOSTS + "a_start_on_a_host_that_fell_silent_is_not_made_on_another": "silence is no death"},
    ),
    Cell(
        "GPU host cut off",
        "running",
        "nothing is launched again on silence; on its return it adopts, catches up, and there is one end",
        {"tests/workers/test_two_hosts.py::test_a_host_that_is_cut_off_keeps_its_run_and_catches_up_on_its_return": "silence is no death"},
    ),
    Cell(
        "host rebooted",
        "running",
        "another boot id: tried again",
        {HOSTS + "a_host_that_was_restarted_tells_what_died_with_it_from_what_had_ended_before": "boot ids are compared"},
    ),
    Cell(
        "host disk full",
        "cancelling",
        "falls back to signals",
        {DISKS + "a_cancel_on_a_disk_that_takes_no_file_more_falls_back_to_signals": "a stop needs no file"},
    ),
    Cell(
        "host disk full",
        "finishing",
        "exit.json had its 4 KB reserved",
        {
            DISKS
            + "a_training_that_fills_the_disk_ends_with_its_true_exit_code_and_the_next_is_refused_with_the_reason": "room for the exit",
            "tests/contracts/test_local_executor.py::test_a_disk_filled_by_the_command_still_takes_its_exit": "room for the exit",
        },
    ),
    Cell(
        "a 200 MB line; NUL, ANSI, bad UTF-8, lone \\r",
        "running",
        "bounded memory; raw bytes kept; shown decoded with replacement",
        {
            OUTPUT + "a_line_of_two_hundred_megabytes_is_cut_and_kept_in_bounded_memory": "long lines are cut",
            OUTPUT + "nul_ansi_bad_utf8_lone_returns_and_an_unfinished_line_are_kept_and_shown": "bad bytes are replaced, not dropped",
        },
    ),
    Cell(
        "a 200 MB line; NUL, ANSI, bad UTF-8, lone \\r",
        "finishing",
        "the last partial line is flushed",
        {OUTPUT + "nul_ansi_bad_utf8_lone_returns_and_an_unfinished_line_are_kept_and_shown": "the last line needs no newline"},
    ),
    Cell(
        "100,000 lines/s for a minute",
        "running",
        "it keeps up; no silent gap",
        {OUTPUT + "a_flood_is_kept_whole_and_can_be_cancelled_in_the_middle": "what it is behind with is read, not skipped"},
    ),
    Cell(
        "100,000 lines/s for a minute",
        "cancelling",
        "the cancel works",
        {OUTPUT + "a_flood_is_kept_whole_and_can_be_cancelled_in_the_middle": "a wish to stop is heard while it speaks"},
    ),
    Cell(
        "trainer ignores TERM, forks away, leaves zombies",
        "cancelling",
        "the whole tree is killed, and that is verified",
        {
            TRAININGS + "a_cancel_leaves_nothing_alive_of_a_training_that_forks_away_and_ignores_term": "a mark finds who fled",
            "tests/workers/test_cancel.py::test_one_that_will_not_stop_is_killed_with_its_children": "after the grace comes the kill",
        },
    ),
    Cell(
        "trainer ignores TERM, forks away, leaves zombies",
        "finishing",
        "a GPU is given on only once all of its last holder is dead; where something hangs in the kernel, not even then",
        {
            LEFT + "a_gpu_is_given_on_only_when_nothing_of_its_last_holder_lives": "a GPU is free once its holder is verified dead",
            LEFT
            + "what_cannot_be_killed_is_marked_and_its_gpu_given_to_nobody_until_it_is_returned": "what cannot be killed keeps its GPU",
        },
    ),
    Cell(
        "pid reuse; two workers with one host name",
        "running",
        "identity is boot id + pid + start time, never the pid alone",
        {
            LOCAL + "a_signal_is_kept_from_another_process_with_the_same_pid": "a pid alone is nobody",
            WORKERS + "a_second_worker_of_a_host_is_refused_with_a_sentence": "a living worker keeps its host",
        },
    ),
]
