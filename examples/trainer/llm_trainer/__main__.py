"""Train what a YAML describes: python -m llm_trainer <yaml>.

Exit codes: 0 trained to the end; 1 the training itself failed; 2 the config, the data or the model cannot be used;
143 (128 + SIGTERM) stopped on request, with a checkpoint of the last finished step if there was one.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from .keys import BadInput, Failed
from .recipe import Recipe, read_recipe
from .stop import EXIT_CODE, Stop, Stopped

FAILED, UNUSABLE = 1, 2


def main(arguments: list[str]) -> int:
    """Train what the YAML asks for; gives the exit code."""
    stop = Stop()
    stop.listen()
    _quieten()
    if len(arguments) != 1:
        return _fail("give exactly one YAML file: bash run_train_full_sft.sh <yaml>", UNUSABLE)
    try:
        recipe = read_recipe(Path(arguments[0]))
        return _trainer()(recipe, stop)
    except BadInput as problem:
        return _fail(problem, UNUSABLE)
    except Stopped as told:
        sys.stdout.write(f"{told}: stopped before the first step, so there is nothing to save\n")
        return EXIT_CODE
    except (Failed, OSError) as problem:
        return _fail(problem, FAILED)


def _trainer() -> Callable[[Recipe, Stop], int]:
    """Load what trains, only now: torch takes seconds to import, and a wrong key is said at once."""
    try:
        from .training import train  # noqa: PLC0415
    except ModuleNotFoundError as problem:
        raise Failed(
            f"{problem} for {sys.executable}: install the trainer's requirements there, or set PYTHON to one that has them"
        ) from None
    return train


def _fail(problem: object, code: int) -> int:
    sys.stderr.write(f"error: {problem}\n")
    return code


def _quieten() -> None:
    """Let no library draw bars, repeat our numbers or tell others that it was used."""
    for name, value in {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
        "DISABLE_TQDM": "1",
        "TQDM_DISABLE": "1",
    }.items():
        os.environ.setdefault(name, value)
    warnings.simplefilter("ignore", FutureWarning)
    warnings.simplefilter("ignore", UserWarning)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
