"""Where models and tokenizers lie: the YAML names them as people do, by a path or by a folder's name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from .keys import BadInput


def find(name: str, key: str, config: Path) -> str:
    """Find a folder or file by its name; a name such as org/model that lies nowhere is left to the Hugging Face hub and its cache."""
    candidates = list(dict.fromkeys(_candidates(Path(name), config)))
    for candidate in candidates:
        if candidate.exists():
            return str(candidate.resolve())
    if name.count("/") == 1 and not name.startswith((".", "/")) and not name.endswith((".model", ".json")):
        return name
    looked = ", ".join(str(each) for each in candidates)
    raise BadInput(f"{key}: {name} is nowhere here (looked for {looked}); give its path, or put it there")


def _candidates(name: Path, config: Path) -> Iterator[Path]:
    if name.is_absolute():
        yield name
        return
    for root in _roots(config):
        yield root / name
        yield root / "models" / name


def _roots(config: Path) -> Iterator[Path]:
    """Give the training directory as the platform mounts it, the folder of the config and those above it, and the current one."""
    for variable in ("TUNEYARD_CONTAINER_TRAINING_PATH", "HOST_TRAINING_PATH"):
        if root := os.environ.get(variable):
            yield Path(root)
    # A run's config is <training directory>/runs/<run>/config.yaml.
    yield from config.absolute().parents[:3]
    yield Path.cwd()
