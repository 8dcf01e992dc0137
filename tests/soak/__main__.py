"""`python -m tests.soak --seconds 600 --seed 7` soaks and prints how each promise was kept; it exits with 1 if one was broken."""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from tests.house import eventually
from tests.soak.crowd import Crowd
from tests.soak.evidence import Evidence, collect, wait_for_quiet
from tests.soak.monkey import PROBED, Monkey
from tests.soak.oracle import judge
from tests.soak.plan import Plan, plan
from tests.soak.record import Record
from tests.soak.report import told
from tests.soak.servers import BRIEFLY
from tests.soak.world import TOY, World, a_world

CONTROLS = 2


def main() -> int:
    """Soak and judge."""
    asked = _arguments()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _interrupt)
    drawn = plan(asked.seed, asked.seconds)
    record = Record()
    began = time.monotonic()
    with a_world(record) as world:
        say(f"soak: seed {asked.seed}, {asked.seconds:g} s: {len(drawn.faults)} faults and {len(drawn.stories)} runs are planned")
        seen = soak(world, drawn)
        verdicts = judge(seen)
        if any(verdict.breaks for verdict in verdicts):
            _keep_logs(world, asked.seed)
    say("\n".join(told(drawn, seen, verdicts, time.monotonic() - began)))
    return 1 if any(verdict.breaks for verdict in verdicts) else 0


def soak(world: World, drawn: Plan) -> Evidence:
    """Hurt and use the world as planned, let it come to rest, and gather what is left."""
    ledger = world.folder / "control-ledger"
    monkey, crowd = Monkey(world, drawn), Crowd(world, drawn)
    controls = Controls(world.folder, ledger)
    try:
        controls.start()
        crowd.start()
        monkey.start()
        monkey.finish()
        crowd.finish()
        # Redis ends with the thread that started it, and that one is over.
        world.redis.kill()
        world.redis.start()
        with suppress(AssertionError):
            eventually(lambda: world.house.ready() and world.all_live(), within=BRIEFLY)
        wait_for_quiet(world)
        return collect(world, ledger)
    finally:
        monkey.stop()
        crowd.stop()
        controls.stop()


class Controls:
    """Trainings beside Tuneyard that nobody knows of and nobody hurts: how long a step takes on this machine at this time."""

    def __init__(self, folder: Path, ledger: Path) -> None:
        self._folder = folder / "control"
        self._ledger = ledger
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start them; they go on until they are stopped."""
        for number in range(CONTROLS):
            place = self._folder / f"control-{number}"
            place.mkdir(parents=True)
            toy = PROBED | {"toy_steps": 10**9, "toy_pace": 0.05, "toy_save_steps": 20, "output_dir": str(place)}
            (place / "config.yaml").write_text("".join(f"{key}: {value}\n" for key, value in toy.items()))
            environment = dict(os.environ) | {"TUNEYARD_RUN_ID": place.name, "TUNEYARD_RUN_DIRECTORY": f"{place}/attempt-1"}
            command = [sys.executable, "-S", str(TOY), str(self._ledger), str(place / "config.yaml")]
            with (place / "out.log").open("ab") as output:
                self._processes.append(subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True))

    def stop(self) -> None:
        """End them."""
        for process in self._processes:
            process.kill()
            process.wait()


def _keep_logs(world: World, seed: int) -> None:
    """Leave the parts' own logs and the ledger where they can be read."""
    place = Path(tempfile.mkdtemp(prefix=f"broken-soak-{seed}-"))
    for log in (*world.folder.glob("*.log"), world.ledger):
        if log.exists():
            (place / log.name).write_bytes(log.read_bytes())
    say(f"the logs of all parts are kept in {place}/")


def say(text: str) -> None:
    """Print it at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _interrupt(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(10**6), help="repeats the faults and runs of an earlier soak"
    )
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("soak: interrupted; all that it had started is ended")
