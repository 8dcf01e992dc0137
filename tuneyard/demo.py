"""The main job from end to end: five calls of the API train a real tiny model, and what they left behind is read back and checked."""

import contextlib
import json
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.text import Text

from tuneyard import follow, show
from tuneyard.answers import Run
from tuneyard.client import Client
from tuneyard.connection import TuneyardError
from tuneyard.plan import EXAMPLES, Plan, Wish, plan_for
from tuneyard.up import Yard

LIMIT_SECONDS = 120
"""The training takes five seconds; a machine that needs this long has another problem."""
FALLEN = 0.8
"""A loss that ends below this part of where it began has really fallen."""
PROJECT, DATASET = "示例-运维问答", "运维问答"


class DemoError(TuneyardError):
    """The demonstration showed that something does not work."""


def demo(out: Console, language: str) -> None:
    """Start a Tuneyard of its own, train through it, check what became of it, and end all of it; DemoError tells what failed."""
    if not (EXAMPLES / "data" / "sample.jsonl").is_file():
        raise DemoError(f"there are no examples in {EXAMPLES}; the demo needs a clone of the repository, installed with `make setup`")
    with tempfile.TemporaryDirectory(prefix="tuneyard-demo-", ignore_cleanup_errors=True) as folder, _ended_when_told():
        plan = _plan(Path(folder), os.environ)
        out.print(f"A Tuneyard for this demo starts at {plan.url} …", style="dim", soft_wrap=True)
        yard = Yard(plan, lambda text: out.print(text, soft_wrap=True))
        try:
            yard.start()
            with Client(plan.url, plan.environment.get("TUNEYARD_TOKEN"), language=language) as client:
                shared = not plan.environment["TRAINING_DB_URL"].startswith("sqlite")
                _train(client, out, Path(folder), suffix=f"-{secrets.token_hex(3)}" if shared else "")
        finally:
            yard.end()
    out.print(
        "\nThat was all of it. Your own server: `tuneyard up`, then the same five calls; its /docs page lets you try them.", soft_wrap=True
    )


def _plan(folder: Path, environment: Mapping[str, str]) -> Plan:
    """Everything in the folder, on a free port; only the database may be another one."""
    kept = {name: value for name, value in environment.items() if not name.startswith("TUNEYARD_") or name == "TUNEYARD_TOKEN"}
    for name in ("REDIS_URL", "HOST_TRAINING_PATH"):
        kept.pop(name, None)
    # A name of its own: in a shared database, the demo must not pass for the host that this machine is there.
    return plan_for(Wish(port=0, data=folder), folder, {**kept, "TUNEYARD_HOST": f"demo-{secrets.token_hex(4)}"})


def _train(client: Client, out: Console, folder: Path, *, suffix: str) -> None:
    """The five calls, and what they lead to. In a shared database `suffix` keeps names apart."""
    calls = _Calls(client, out)
    dataset, project = DATASET + suffix, PROJECT + suffix
    path = f"datasets/{dataset}/sample.jsonl"
    config = folder / f"sft{suffix}.yaml"
    config.write_text((EXAMPLES / "configs" / "sft.yaml").read_text("utf-8").replace("datasets/sample.jsonl", path), "utf-8")

    dataset_id = calls.send("POST", "/v1/datasets", {"name": dataset, "task_type": "sft"})["id"]
    calls.push(f"/v1/datasets/{dataset_id}/files", EXAMPLES / "data" / "sample.jsonl")
    calls.push("/v1/train-config", config)
    calls.send(
        "POST", "/projects", {"name": project, "task_type": "sft", "dataset_name": path, "training_yaml_name": f"configs/{config.name}"}
    )
    run: Run = calls.send("POST", f"/projects/{project}/runs", {"hyperparameters": {"logging_steps": 10}})

    out.print()
    try:
        run = follow.follow(client, project, run, out, as_json=False)
    except KeyboardInterrupt:
        out.print("\nThe training ends first, in a few seconds …", style="dim")
        follow.wait(client, project, run, out)
        raise
    _check(client, out, project, run)


def _check(client: Client, out: Console, project: str, run: Run) -> None:
    """Read back what the run left, and refuse to be content with less than a real training."""
    out.print()
    out.print(follow.conclusion(client, project, run), soft_wrap=True)
    if run["status"] != "succeeded":
        raise DemoError(f"the run should have succeeded, but it is {run['status']} (exit code {run.get('exit_code')})")
    metrics, artifacts = client.metrics(project, run["id"]), client.artifacts(project, run["id"])
    for table in (show.metrics(metrics), show.artifacts(artifacts)):
        out.print()
        out.print(table)
    losses = [metric["value"] for metric in metrics if metric["name"] == "train/loss" and metric["value"] is not None]
    if len(losses) < 2 or losses[-1] > FALLEN * losses[0]:  # noqa: PLR2004 - a fall has a beginning and an end
        raise DemoError(f"the loss should have fallen, but its history is {losses[:3]} … {losses[-3:]}")
    kinds = {artifact["type"] for artifact in artifacts if artifact.get("complete", True)}
    if missing := {"checkpoint", "model"} - kinds:
        raise DemoError(f"the run should have left a complete {' and a '.join(sorted(missing))}")
    out.print()
    lines = client.log_page(project, run["id"], page_size=1)["total"]
    fall = f"the loss fell from {show.number(losses[0])} to {show.number(losses[-1])}"
    out.print(
        f"✓ {fall}; {lines} lines of log, {len(metrics)} metric values and {len(artifacts)} artifacts are in the database",
        style="green",
        soft_wrap=True,
    )


class _Calls:
    """Calls of the API that are shown as they are made, so that a newcomer sees how it is done."""

    def __init__(self, client: Client, out: Console) -> None:
        self._client = client
        self._out = out
        self._count = 0

    def send(self, method: str, path: str, body: Any = None) -> Any:  # noqa: ANN401 - JSON
        """Send JSON."""
        self._show(method, path, json.dumps(body, ensure_ascii=False) if body else "")
        return self._client.call(method, path, json=body)

    def push(self, path: str, file: Path) -> None:
        """Upload a file."""
        self._show("PUT", path, f"file=@{file.name}")
        self._client.upload(path, file)

    def _show(self, method: str, path: str, content: str) -> None:
        self._count += 1
        self._out.print(Text.assemble((f"{self._count}  ", "dim"), (f"{method:<4} {path}", "bold"), f"  {content}"), soft_wrap=True)


@contextlib.contextmanager
def _ended_when_told() -> Iterator[None]:
    """Make TERM, and a demo that takes too long, an ordinary end: what was started is ended too."""

    def too_long(*_: object) -> NoReturn:
        raise DemoError(f"it is not done after {LIMIT_SECONDS} seconds; what the run waits for is shown above, if it was launched")

    def told(*_: object) -> NoReturn:
        sys.exit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGALRM, too_long), signal.signal(signal.SIGTERM, told)
    signal.alarm(LIMIT_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before[0])
        signal.signal(signal.SIGTERM, before[1])
