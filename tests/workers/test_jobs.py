"""Personal data is taken out of a whole dataset in the background: every line once, in order, whatever is killed meanwhile."""

import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.crash.counted import lives
from tests.house import House, eventually

CHUNKS = int(os.environ.get("TUNEYARD_TEST_JOB_CHUNKS", "14"))
"""How large the dataset of a killed job is, in 4 MiB; 256 are the gigabyte that was promised, too long for every day."""
PHONE = "13812345678"
CLEAN = '{"messages":[{"role":"user","content":"你好 🙂"},  {"role":"assistant","content":"您好"}]}'
LINES = [
    CLEAN,
    json.dumps(
        {"messages": [{"role": "user", "content": f"客户手机号 {PHONE}"}, {"role": "assistant", "content": "好"}]}, ensure_ascii=False
    ),
    '{"broken": ',
    json.dumps({"order_id": "20240102030405", "buyer_mobile": "+86 138-1234-5678", "content": "x"}),
]
TEXT = "\r\n".join(LINES) + "\r\n"


def dataset(house: House, text: bytes, name: str = "客服对话", file: str = "train.jsonl") -> str:
    """Upload a file as a dataset of its own; its name."""
    house.ok("POST", "/v1/datasets", json={"name": name, "task_type": "sft"})
    house.ok("PUT", f"/v1/datasets/{name}/files", files={"file": (file, text)})
    return name


def ordered(house: House, name: str, **asked: Any) -> str:
    """Order a de-identification; the job's id."""
    job: str = house.ok("POST", f"/v1/datasets/{name}/deidentify", json=asked)["id"]
    return job


def over(house: House, job: str, within: float = 60) -> dict[str, Any]:
    """Wait for a job's end and show it."""

    def shown() -> dict[str, Any] | None:
        found: dict[str, Any] = house.ok("GET", f"/v1/jobs/{job}")
        return found if found["finished_at"] else None

    return eventually(shown, within=within)


def content(house: House, name: str) -> bytes:
    """Return the bytes of a dataset's only file, as a run would be given them."""
    file = house.ok("GET", f"/v1/datasets/{name}")["files"][0]
    path: Path = house.training / file["stored_name"]
    return path.read_bytes()


def test_what_is_personal_is_replaced_and_all_else_stays_byte_for_byte(house: House) -> None:
    name = dataset(house, TEXT.encode())
    before = house.ok("GET", f"/v1/datasets/{name}")["files"][0]

    job = over(house, ordered(house, name))

    assert "succeeded" == job["status"], job["failure"]
    after = content(house, name).decode()
    lines = after.split("\r\n")
    assert [CLEAN, ""] == [lines[0], lines[-1]]
    assert 4 == len(lines)
    assert PHONE not in after
    assert "8-1234-5678" not in after
    one, other = json.loads(lines[1])["messages"][0]["content"].split()[1], json.loads(lines[2])["buyer_mobile"]
    assert one[-8:] == other.replace("-", "")[-8:], "one person stays one person in any spelling"
    assert "20240102030405" == json.loads(lines[2])["order_id"]
    report = job["files"][0]
    assert (4, 2, 1, [3]) == (report["lines"], report["changed_lines"], report["bad_lines"], report["bad_line_numbers"])
    assert {"messages[].content": 1, "buyer_mobile": 1} == report["found"]["CN_MOBILE"]
    assert ({"CN_MOBILE": 2}, "test") == (job["found"], job["key_id"])
    assert TEXT.encode() == (house.training / before["stored_name"]).read_bytes(), "the source is untouched"


def test_the_dataset_says_what_it_was_made_by_and_its_old_version_stays(house: House) -> None:
    name = dataset(house, TEXT.encode())

    job = over(house, ordered(house, name))

    shown = house.ok("GET", f"/v1/datasets/{name}")
    made = shown["files"][0]["deidentified"]
    assert (job["id"], "default", job["policy_revision"]) == (made["job_id"], made["policy_id"], made["policy_revision"])
    assert 2 == job["version"] == shown["version"]
    old = house.ok("GET", f"/v1/datasets/{name}/versions/1")["files"]
    assert [(made["source"], None)] == [(each["upload_id"], each["deidentified"]) for each in old]
    assert "deidentified" == house.ok("GET", f"/v1/datasets/{name}/versions")[0]["change"]


def test_nothing_that_was_found_is_in_a_row_a_log_or_the_record(house: House) -> None:
    name = dataset(house, TEXT.encode())

    job = over(house, ordered(house, name))

    told = json.dumps(job) + house.client.get("/v1/jobs").text + house.worker.log.read_text() + house.api.log.read_text()
    told += "".join(path.read_text(errors="replace") for path in (house.training / "jobs").rglob("out.log"))
    told += house.client.get("/v1/datasets").text
    assert "8-1234-5678" not in told
    assert PHONE not in told


def test_bad_lines_are_set_aside_with_their_numbers_and_bytes_or_fail_the_job(house: House) -> None:
    name = dataset(house, TEXT.encode())

    aside = over(house, ordered(house, name))
    name = dataset(house, TEXT.encode(), "另一份")
    failed = over(house, ordered(house, name, bad_lines="fail"))

    quarantine = (house.training / aside["files"][0]["quarantine"]).read_text().splitlines()
    assert [3] == [json.loads(line)["line"] for line in quarantine]
    assert ("failed", "bad_input") == (failed["status"], failed["failure"]["class"])
    assert "train.jsonl: line 3 cannot be read" in failed["failure"]["reason"]
    assert TEXT.encode() == content(house, name)


def test_a_file_without_anything_personal_stays_and_is_known_to_be_clean(house: House) -> None:
    name = dataset(house, (CLEAN + "\n").encode())

    job = over(house, ordered(house, name))

    file = house.ok("GET", f"/v1/datasets/{name}")["files"][0]
    assert (1, file["upload_id"]) == (job["version"], file["deidentified"]["source"])
    assert (CLEAN + "\n").encode() == content(house, name)


def test_a_packed_file_comes_out_packed(house: House) -> None:
    name = dataset(house, gzip.compress(TEXT.encode()), file="train.jsonl.gz")

    job = over(house, ordered(house, name))

    assert "succeeded" == job["status"], job["failure"]
    assert CLEAN.encode() == gzip.decompress(content(house, name)).split(b"\r\n")[0]
    assert PHONE.encode() not in gzip.decompress(content(house, name))


def test_a_seed_makes_other_surrogates_and_the_same_seed_the_same(house: House) -> None:
    outputs = []
    for number, seed in enumerate((1, 2, 1)):
        name = dataset(house, TEXT.encode(), f"seed-{number}")
        over(house, ordered(house, name, seed=seed))
        outputs.append(content(house, name))

    assert outputs[0] == outputs[2]
    assert outputs[0] != outputs[1]


def test_a_file_taken_back_meanwhile_is_not_brought_back(make_house: Any, sqlite_url: str) -> None:
    house = make_house(sqlite_url, TUNEYARD_SWEEP_SECONDS="0.5")
    name = dataset(house, TEXT.encode())
    house.worker.kill()
    job = ordered(house, name)
    upload = house.ok("GET", f"/v1/datasets/{name}")["files"][0]["upload_id"]
    house.ok("DELETE", f"/v1/uploads/{upload}")
    house.worker.start()

    shown = over(house, job)

    assert "failed" == shown["status"]
    assert "was taken back or replaced meanwhile" in shown["failure"]["reason"]
    assert [] == house.ok("GET", f"/v1/datasets/{name}")["files"]


def test_a_job_can_be_cancelled_and_the_dataset_stays_as_it_was(house: House) -> None:
    name = dataset(house, large(12))
    job = ordered(house, name)
    eventually(lambda: house.ok("GET", f"/v1/jobs/{job}")["progress"] > 0)
    program = running(house, job)

    answer = house.client.post(f"/v1/jobs/{job}/cancel", headers={"Prefer": "wait=30"})

    assert (200, "cancelled") == (answer.status_code, answer.json()["status"])
    assert 1 == house.ok("GET", f"/v1/datasets/{name}")["version"]
    assert not lives(program)
    assert 200 == house.client.post(f"/v1/jobs/{job}/cancel").status_code


def test_a_job_cancelled_before_anybody_saw_its_program_live_is_stopped_all_the_same(make_house: Any, sqlite_url: str) -> None:
    house = make_house(sqlite_url, TUNEYARD_SWEEP_SECONDS="0.5")
    house.worker.stop()
    job = ordered(house, dataset(house, large(12)))
    house.worker.environment["TUNEYARD_FAILPOINT"] = "worker.started"
    house.worker.start()
    house.worker.process.wait(20)
    del house.worker.environment["TUNEYARD_FAILPOINT"]
    program = running(house, job)

    asked = house.client.post(f"/v1/jobs/{job}/cancel", headers={"Prefer": "wait=0"})
    house.worker.start()

    assert (202, "cancelling") == (asked.status_code, asked.json()["status"])
    eventually(lambda: house.ok("GET", f"/v1/jobs/{job}")["status"] == "cancelled")
    assert not lives(program)


@pytest.mark.slow
@pytest.mark.timeout(120 + 10 * CHUNKS)
def test_killed_twice_with_its_worker_it_ends_with_the_output_of_one_that_was_not(make_house: Any, sqlite_url: str) -> None:
    house = make_house(sqlite_url, TUNEYARD_SWEEP_SECONDS="0.5", TUNEYARD_RETRY_SECONDS="0.2", MAX_SMALL_FILE_BYTES=str(2**31))
    text = large(CHUNKS)
    undisturbed = dataset(house, text, "undisturbed")
    over(house, ordered(house, undisturbed), within=60 + 4 * CHUNKS)
    name = dataset(house, text)
    job = ordered(house, name)

    for kills in range(1, 3):
        advance(house, job)
        house.worker.kill()
        os.killpg(running(house, job, kills), signal.SIGKILL)
        house.worker.start()

    shown = over(house, job, within=60 + 4 * CHUNKS)
    assert ("succeeded", 3) == (shown["status"], shown["attempt"]), shown["failure"]
    assert content(house, undisturbed) == content(house, name)


def test_what_cannot_be_done_is_refused_with_words(house: House) -> None:
    house.ok("POST", "/v1/datasets", json={"name": "leer"})

    answers = [
        house.client.post("/v1/datasets/leer/deidentify"),
        house.client.post("/v1/datasets/nobody/deidentify"),
        house.client.post("/v1/datasets/leer/deidentify", json={"policy_id": "strict"}),
        house.client.post("/v1/datasets/leer/deidentify", json={"polcy_id": "x"}),
        house.client.get("/v1/jobs/job_1"),
    ]

    assert [409, 404, 404, 400, 404] == [answer.status_code for answer in answers]
    assert "has no files to de-identify" in answers[0].json()["detail"]
    assert "default" in answers[2].json()["detail"], "those that there are"


def test_a_repeated_order_is_one_job(house: House) -> None:
    name = dataset(house, TEXT.encode())
    key = {"Idempotency-Key": "one"}

    answers: list[httpx.Response] = [house.client.post(f"/v1/datasets/{name}/deidentify", headers=key) for _ in range(2)]

    assert [202, 202] == [answer.status_code for answer in answers]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    assert "true" == answers[1].headers["Idempotency-Replayed"]


def advance(house: House, job: str) -> None:
    """Wait until a job has come further than it is."""
    reached = house.ok("GET", f"/v1/jobs/{job}")["progress"]
    eventually(lambda: house.ok("GET", f"/v1/jobs/{job}")["progress"] > reached, within=60)


def large(chunks: int) -> bytes:
    """Return lines for so many chunks; every fifth holds a number of its own."""
    size = 4 * 1024 * 1024
    line = json.dumps({"text": "甲" * 300 + " NUMBER"}, ensure_ascii=False)
    count = chunks * size // len(line.encode())
    return b"".join(
        (line.replace("NUMBER", f"手机 138{number:08d}") if number % 5 == 0 else line).encode() + b"\n" for number in range(count)
    )


def running(house: House, job: str, attempt: int = 1) -> int:
    """Return the pid of a job's program."""
    state = house.training / "jobs" / job / f"attempt-{attempt}" / "state.json"
    pid: int = json.loads(eventually(lambda: state.exists() and state.read_text()))["pid"]
    return pid


def test_a_project_may_demand_data_that_was_deidentified(house: House) -> None:
    name = dataset(house, "\n".join(line for line in LINES if "order_id" not in line and "broken" not in line).encode())
    asked = {"name": "严格", "dataset_name": f"datasets/{name}", "task_type": "sft", "deid_policy": "default"}
    house.ok("POST", "/projects", json=asked)

    refused = house.client.post("/projects/严格/runs")
    over(house, ordered(house, name))
    launched = house.client.post("/projects/严格/runs")
    unknown = house.client.post("/projects", json={"name": "x", "deid_policy": "strict"})

    assert (400, 201, 404) == (refused.status_code, launched.status_code, unknown.status_code), launched.text
    assert "the project requires data de-identified by policy default" in refused.json()["detail"]


def test_from_the_command_line_it_shows_counts_and_never_what_it_found(house: House) -> None:
    name = dataset(house, TEXT.encode())
    tuneyard = [sys.executable, "-P", "-m", "tuneyard", "--url", house.url]

    said = subprocess.run([*tuneyard, "datasets", "deidentify", name, "--wait"], capture_output=True, text=True, check=True).stdout
    listed = subprocess.run([*tuneyard, "jobs", "list", "--dataset", name], capture_output=True, text=True, check=True).stdout

    assert "train.jsonl: 2 of 4 lines changed, 1 set aside" in said
    assert "CN_MOBILE  messages[].content" in said
    assert PHONE not in said + listed
    assert "default" in listed
