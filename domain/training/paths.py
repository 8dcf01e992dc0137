"""What a config names beside its data: models, a tokenizer, a reward model; each may be a name, a path, or a URL."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from domain.training.problem import Problem, shown
from domain.training.rule import Rule

KEYS = ("model_name", "base_model", "policy_model", "reward_model", "tokenizer")
FOLDERS = frozenset(["checkpoints", "configs", "data", "datasets", "models", "output", "outputs", "runs", "tokenizers"])
"""First folders by which a path is known from a name such as `Qwen/Qwen2.5-7B`."""
SUFFIXES = frozenset((".bin", ".gguf", ".json", ".model", ".pt", ".pth", ".safetensors"))


def relative_paths(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Give each key with the path it names, where that lies below some directory of ours.

    An absolute path is the training container's own matter, and names of a model library are none.
    """
    for key in KEYS:
        value = config.get(key)
        if isinstance(value, str) and _is_path(value):
            yield key, str(PurePosixPath(value))


def check_urls(config: dict[str, Any]) -> Iterator[Problem]:
    """Look at what is meant as a URL."""
    for key in KEYS:
        value = config.get(key)
        if isinstance(value, str) and _is_meant_as_url(value) and not _is_url(value):
            yield Problem(rule=Rule.bad_url, place=key, facts={"key": key, "found": shown(value)})


def _is_path(value: str) -> bool:
    parts = PurePosixPath(value).parts
    if _is_meant_as_url(value) or value.startswith(("/", "~")) or ".." in parts or not parts:
        return False
    deep = len(parts) > 1
    return value.startswith("./") or len(parts) > 2 or (deep and parts[0] in FOLDERS) or PurePosixPath(value).suffix in SUFFIXES  # noqa: PLR2004 - owner/name


def _is_meant_as_url(value: str) -> bool:
    return "://" in value or value.lower().startswith(("http:", "https:"))


def _is_url(value: str) -> bool:
    try:
        url = urlsplit(value)
        return (
            url.scheme in ("http", "https")
            and bool(url.hostname)
            and (url.port is None or url.port > 0)
            and value.isprintable()
            and " " not in value
        )
    except ValueError:
        return False
