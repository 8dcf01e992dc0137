"""A toy standing in for a trainer under a soak: it trains nothing, and keeps a ledger of its whole life that anyone can check.

    ledger.py LEDGER CONFIG     CONFIG is the run's own YAML; its `toy_…` keys say what to do

Every moment of every training is one line of JSON in one file that all of them share: who, where, on which devices, how far. What it
prints can be checked too: lines `L <attempt> <n> <sha8>`, numbered from 0 in each attempt, and a line of JSON for each step. It saves
checkpoints, goes on from one, saves and leaves when asked to (unless it is stubborn), and may leave a child behind.
"""

import hashlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType

BEAT_SECONDS = 0.05
"""How often a child that was left behind says that it still lives."""
CHILDHOOD_SECONDS = 60.0
"""After which that child ends by itself, should nobody have ended it."""
PIECES = 4
"""A checkpoint's weights are written in so many pieces, with a pause before each, so that some are cut off between two."""
PIECE = 8 * 1024
INCOMPLETE = "checkpoint-is-incomplete.txt"
ASKED_TO_LEAVE = 143
BAD_CHECKPOINT = 9
"""Exit code when the checkpoint it was to go on from is not whole."""


def line(attempt: int, number: int) -> str:
    """Line `number` of an attempt, without its newline."""
    return f"L {attempt} {number} {hashlib.sha256(f'{attempt} {number}'.encode()).hexdigest()[:8]}"


class Ledger:
    """The file that all trainings share; a line is one write, so lines never mix."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._who = {
            "run": os.environ["TUNEYARD_RUN_ID"],
            "attempt": attempt(),
            "boot": Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip(),
            "devices": [each for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each],
        }

    def beat(self, what: str, step: int) -> None:
        """Write down that this process lives."""
        said = self._who | {"pid": os.getpid(), "what": what, "step": step, "at": time.time()}
        os.write(self._file, json.dumps(said).encode() + b"\n")

    def again(self) -> "Ledger":
        """Open it anew, for a process that has closed all its files."""
        return Ledger(self._path)


class Training:
    """One attempt."""

    def __init__(self, ledger: Ledger, config: dict[str, str]) -> None:
        self.ledger = ledger
        self.config = config
        self.output = Path(config["output_dir"])
        self.attempt = attempt()
        self.step = 0
        self.said = 0
        self.leaving = False

    def run(self) -> int:
        """Train to the end; the exit code."""
        if source := self.config.get("resume_from_checkpoint"):
            self.step = whole(Path(source))
        self.ledger.beat("start", self.step)
        if child := self.config["toy_child"]:
            leave_child(self.ledger, child)
        while self.step < int(self.config["toy_steps"]) and not self.leaving:
            self.take_step()
        if self.leaving:
            self.save()
        self.ledger.beat("end", self.step)
        return ASKED_TO_LEAVE if self.leaving else int(self.config["toy_exit"])

    def take_step(self) -> None:
        """Say some lines, a metric, and save now and then."""
        self.step += 1
        for _ in range(int(self.config["toy_lines"])):
            say(line(self.attempt, self.said))
            self.said += 1
        say(json.dumps({"step": self.step, "max_steps": int(self.config["toy_steps"]), "train/loss": 1 / self.step}))
        self.ledger.beat("step", self.step)
        if self.step % int(self.config["toy_save_steps"]) == 0:
            self.save()
        time.sleep(float(self.config["toy_pace"]))

    def save(self) -> None:
        """Write a checkpoint, either in place, marked as unfinished meanwhile, or beside its place."""
        folder = self.output / f"checkpoint-{self.step}"
        if self.config["toy_in_place"] == "yes":
            folder.mkdir(parents=True, exist_ok=True)
            (folder / INCOMPLETE).touch()
            self.write(folder)
            (folder / INCOMPLETE).unlink()
        else:
            unfinished = folder.with_name(f"tmp-{folder.name}")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            self.write(unfinished)
            shutil.rmtree(folder, ignore_errors=True)
            unfinished.rename(folder)
        self.ledger.beat("saved", self.step)

    def write(self, folder: Path) -> None:
        """Write what a resume needs, the state last."""
        header = json.dumps({"w": {"dtype": "U8", "shape": [PIECES * PIECE], "data_offsets": [0, PIECES * PIECE]}}).encode()
        with (folder / "model.safetensors").open("wb", buffering=0) as file:
            file.write(len(header).to_bytes(8, "little") + header)
            for _ in range(PIECES):
                time.sleep(float(self.config["toy_pace"]) / PIECES)
                file.write(bytes([self.step % 256]) * PIECE)
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": self.step}))

    def ask_to_leave(self, _: int, __: FrameType | None) -> None:
        """Take the signal that says so."""
        self.leaving = True


def attempt() -> int:
    """The number of this attempt, by the run directory's name."""
    return int(os.environ["TUNEYARD_RUN_DIRECTORY"].rpartition("-")[2])


def whole(folder: Path) -> int:
    """The step of a checkpoint; ends this training when the checkpoint is not whole."""
    try:
        step = int(json.loads((folder / "trainer_state.json").read_text())["global_step"])
        weights = (folder / "model.safetensors").read_bytes()[-PIECES * PIECE :]
    except (OSError, ValueError, LookupError) as problem:
        sys.stderr.write(f"{folder} is not whole: {problem}\n")
        sys.exit(BAD_CHECKPOINT)
    if weights != bytes([step % 256]) * PIECES * PIECE or (folder / INCOMPLETE).exists():
        sys.stderr.write(f"{folder} is not whole\n")
        sys.exit(BAD_CHECKPOINT)
    return step


def leave_child(ledger: Ledger, kind: str) -> None:
    """Start a child in a session of its own that outlives us: one that `holds` our open files, or one that `flees` with none."""
    if os.fork() > 0:
        return
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.setsid()
    if kind == "flees":
        os.closerange(3, 256)
        ledger = ledger.again()
    end = time.monotonic() + CHILDHOOD_SECONDS
    while time.monotonic() < end:
        ledger.beat("child", 0)
        time.sleep(BEAT_SECONDS)
    os._exit(0)


def say(text: str) -> None:
    """Print a line in one write."""
    os.write(1, f"{text}\n".encode())


def read_config(path: str) -> dict[str, str]:
    """Read the flat `key: value` lines of the run's config that matter here."""
    pairs = (each.partition(": ") for each in Path(path).read_text("utf-8").splitlines())
    return {key: value.strip("'\"") for key, _, value in pairs}


def main(ledger: str, config: str) -> int:
    """Live through one attempt."""
    training = Training(Ledger(ledger), read_config(config))
    signal.signal(signal.SIGTERM, signal.SIG_IGN if training.config["toy_stubborn"] == "yes" else training.ask_to_leave)
    return training.run()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
