"""Policies on disk: ours and the operator's own, compiled once, replaced all at once when a file changes."""

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from domain.deid.policy import CompiledPolicy, PolicyError, compiled, read
from domain.errors import Invalid, NotFound, TooLarge
from infra.files import yaml_text

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).parent / "policies"
LARGEST_BYTES = 256 * 1024
LOOK_SECONDS = 1.0
"""A changed file is in use within this time."""

_Seen = tuple[tuple[str, int, int], ...]


class Shelf:
    """The policies by their ids. What cannot be used is refused with its file and reason; then what was there stays in use."""

    def __init__(self, own: Path | None) -> None:
        self._folders = [SHIPPED, *([own] if own else [])]
        self._lock = threading.Lock()
        self._looked_at = time.monotonic()
        self._seen = self._look()
        self._policies = self._load()
        self.problem: str | None = None
        """Why the files as they are now are not in use."""

    def get(self, policy_id: str) -> CompiledPolicy:
        """Return a policy; NotFound names those that there are."""
        policies = self.all()
        found = policies.get(policy_id)
        if found is None:
            message = f"there is no policy {policy_id[:80]}; there are {', '.join(policies)}"
            raise NotFound(message, known=list(policies))
        return found

    def all(self) -> Mapping[str, CompiledPolicy]:
        """Return all policies by id, as the files say now."""
        if time.monotonic() - self._looked_at > LOOK_SECONDS and self._lock.acquire(blocking=False):
            try:
                self._looked_at = time.monotonic()
                self._refresh()
            finally:
                self._lock.release()
        return self._policies

    def _refresh(self) -> None:
        seen = self._look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._policies = self._load()
        except PolicyError as wrong:
            self.problem = str(wrong)
            log.warning("policies stay as they were: %s", wrong)
        else:
            self.problem = None
            log.info("policies read anew: %s", ", ".join(self._policies))

    def _files(self) -> list[Path]:
        return [
            path for folder in self._folders if folder.is_dir() for path in sorted(folder.iterdir()) if path.suffix in {".yaml", ".yml"}
        ]

    def _look(self) -> _Seen:
        return tuple((str(path), *_state(path)) for path in self._files())

    def _load(self) -> dict[str, CompiledPolicy]:
        found: dict[str, tuple[Path, CompiledPolicy]] = {}
        for path in self._files():
            policy = _compile(path)
            other = found.get(policy.id)
            if other is not None and other[0].parent == path.parent:
                message = f"{path} and {other[0].name} are both the policy {policy.id}"
                raise PolicyError(message)
            found[policy.id] = path, policy  # the operator's own takes the place of ours
        return {policy_id: policy for policy_id, (_, policy) in found.items()}


def _state(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError:
        return 0, 0  # what is wrong with it is said when it is read
    return state.st_mtime_ns, state.st_size


def _compile(path: Path) -> CompiledPolicy:
    try:
        return compiled(read(yaml_text.read(path.read_bytes(), limit_bytes=LARGEST_BYTES)))
    except (Invalid, TooLarge) as wrong:
        message = f"{path}: {wrong.detail}"
    except (PolicyError, OSError) as wrong:
        message = f"{path}: {wrong}"
    raise PolicyError(message)
