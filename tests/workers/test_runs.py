"""A run from the request to its end, on a real host."""

from tests.house import House, eventually


def test_a_run_succeeds_and_tells_what_it_did(house: House) -> None:
    project = house.project(script='echo 你好; echo \'{"step": 1, "max_steps": 2, "train/loss": 2.5}\'; echo done')

    run = house.ended(project, house.launch(project))

    assert "succeeded" == run["status"]
    assert (1.0, 0) == (run["progress"], run["exit_code"])
    assert {"train/loss": 2.5} == run["metrics"]
    lines = house.lines(project, run["name"])
    assert "训练进程已启动" in lines[0]
    assert ["你好", '{"step": 1, "max_steps": 2, "train/loss": 2.5}', "done"] == lines[1:4]
    assert "exit code 0" in lines[4]


def test_a_failing_run_says_why(house: House) -> None:
    project = house.project(script="echo Traceback; echo boom >&2; exit 7")

    run = house.ended(project, house.launch(project))

    assert ("failed", 7) == (run["status"], run["exit_code"])
    assert "user_code" == run["failure"]["class"]
    assert "code 7" in run["failure"]["reason"]
    assert "boom" in run["failure"]["log_excerpt"]


def test_a_run_that_cannot_start_says_what_to_do(house: House) -> None:
    project = house.project()
    (house.scripts / "run_train_full_sft.sh").unlink()

    run = house.ended(project, house.launch(project))

    assert ("failed", "infrastructure", None) == (run["status"], run["failure"]["class"], run["started_at"])
    assert "run_train_full_sft.sh is not in" in run["failure"]["reason"]
    assert "run_train_full_sft.sh is not in" in house.lines(project, run["name"])[-1]


def test_a_living_run_shows_five_percent_and_a_confirming_line(house: House) -> None:
    project = house.project(script="sleep 30")

    name = house.launch(project)
    eventually(lambda: house.run(project, name)["status"] == "running")

    assert 0.05 == house.run(project, name)["progress"]
    assert "training started" in house.lines(project, name)[0]


def test_a_metrics_file_beside_the_log_gives_the_steps(house: House) -> None:
    project = house.project(
        script="out=$TUNEYARD_OUTPUT_DIR/trainer_log.jsonl\n" + "\n".join(f"echo '{line}' >> $out" for line in TRAINER_LOG)
    )

    run = house.ended(project, house.launch(project))

    assert "succeeded" == run["status"]
    history = house.ok("GET", f"/projects/{project}/runs/{run['name']}/metrics?name=train/loss")["items"]
    assert [(5, 2.5), (10, 2.25)] == [(each["step"], each["value"]) for each in history]


TRAINER_LOG = (
    '{"current_steps": 5, "total_steps": 10, "loss": 2.5, "lr": 1e-05, "epoch": 0.5, "percentage": 50.0, "elapsed_time": "0:00:05"}',
    '{"current_steps": 10, "total_steps": 10, "loss": 2.25, "lr": 0.0, "epoch": 1.0, "percentage": 100.0, "elapsed_time": "0:00:10"}',
)
