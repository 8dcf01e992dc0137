"""The engine: policies, keys and the scanner together. Opened once per process; a recipe carries one policy and its key to another."""

import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from domain.deid.clean import Cleaned, clean, making
from domain.deid.find import Detectors, Everywhere, Scanner
from domain.deid.keys import Key, Keyring, seeded
from domain.deid.lines import Lines, clean_json_lines, clean_text_lines
from domain.deid.operators import Making, reveal
from domain.deid.people import PEOPLE
from domain.deid.policy import BUILT_IN, CompiledPolicy, Policy, PolicyError, compiled
from domain.deid.rule import Rule
from domain.errors import Conflict
from infra.deid.ciphers import Ciphers
from infra.deid.keyfile import load_keyring
from infra.deid.shelf import Shelf
from infra.settings import Settings, SettingsError

log = logging.getLogger(__name__)

BLOCK_LINES = 1_000
"""Looked at together: some hundred kilobytes, which a core's cache holds."""


def detectors(*, people: bool = True) -> Detectors:
    """Return our rules with the fastest scanner that this machine has; without `people` it does not look for names and addresses."""
    with _MAKING:
        if people not in _MADE:
            _MADE[people] = Detectors(BUILT_IN, _scanner(BUILT_IN if people else BUILT_IN[: -len(PEOPLE)]))
        return _MADE[people]


_MADE: dict[bool, Detectors] = {}
_MAKING = threading.Lock()


def _scanner(rules: Sequence[Rule]) -> Scanner:
    try:
        from infra.deid.scanner import HyperscanScanner  # noqa: PLC0415 - not every machine has it
    except ImportError as missing:
        log.warning("Hyperscan cannot be loaded (%s): de-identification works, but slowly", missing)
        return Everywhere(rules)
    return HyperscanScanner(rules)


def detectors_for(policy: CompiledPolicy) -> Detectors:
    """Return the detectors that a policy needs."""
    return detectors(people=_wants_people(policy))


def _wants_people(policy: CompiledPolicy) -> bool:
    return any(place in policy.wanted for place in range(len(BUILT_IN) - len(PEOPLE), len(BUILT_IN)))


class Recipe(Struct, frozen=True, kw_only=True):
    """All that another process needs to do the same: it can be pickled, and holds secrets, so it goes to child processes only."""

    policy: Policy
    ring: Keyring
    seed: int | str

    def ready(self) -> "Ready":
        """Open it in this process."""
        return Ready(compiled(self.policy), self.ring, self.seed)


class Ready:
    """One policy under one key and seed: texts or lines in, texts or lines out. Numbered names are numbered anew in every text."""

    def __init__(self, policy: CompiledPolicy, ring: Keyring, seed: int | str) -> None:
        self.policy = policy
        self._key = seeded(ring.current, policy, seed)
        self._cipher = Ciphers(ring, policy.policy.key_ref)

    def texts(self, texts: Sequence[str], keys: Sequence[str] | None = None) -> list[Cleaned]:
        """De-identify texts; `keys` names the JSON field of each."""
        return clean(self._detectors, self.policy, texts, self._making(), keys)

    def json_lines(self, lines: Sequence[bytes], *, examples: bool = False) -> Lines:
        """De-identify JSON lines."""
        return self._lines(clean_json_lines, lines, examples=examples)

    def text_lines(self, lines: Sequence[bytes], *, examples: bool = False) -> Lines:
        """De-identify plain lines."""
        return self._lines(clean_text_lines, lines, examples=examples)

    def _lines(self, work: Callable[..., Lines], lines: Sequence[bytes], *, examples: bool) -> Lines:
        made, by = self._making(), self._detectors
        return {
            begin + place: line
            for begin in range(0, len(lines), BLOCK_LINES)
            for place, line in work(by, self.policy, lines[begin : begin + BLOCK_LINES], made, examples=examples).items()
        }

    @property
    def warm(self) -> bool:
        """Whether its scanner is there already; making it takes half a second."""
        return _wants_people(self.policy) in _MADE

    @property
    def _detectors(self) -> Detectors:
        return detectors_for(self.policy)

    def _making(self) -> Making:
        return making(self.policy, self._key, self._cipher)


class Engine:
    """What the API, the workers and the command line ask."""

    def __init__(self, settings: Settings) -> None:
        self.ring = load_keyring(settings)
        try:
            self.shelf = Shelf(Path(settings.policies) if settings.policies else None)
        except PolicyError as wrong:
            message = f"a de-identification policy cannot be used: {wrong}"
            raise SettingsError(message) from None

    @property
    def security(self) -> Literal["keyed", "test-only"]:
        """`keyed`, or `test-only` where the server has no key."""
        return "test-only" if self.ring.test_only else "keyed"

    @property
    def key(self) -> Key:
        """The key of everything new."""
        return self.ring.current

    def recipe(self, policy_id: str, seed: int | None) -> Recipe:
        """Return how to apply a policy. Without a seed a fresh one is drawn: consistent within the recipe, linkable to nothing else."""
        policy = self.shelf.get(policy_id)
        if policy.needs_key and self.ring.test_only:
            message = (
                f"the policy {policy_id} makes values that a key opens, and this server has no key, so anybody could; "
                "set TUNEYARD_DEID_KEY_FILE (`tuneyard up` makes one by itself)"
            )
            raise Conflict(message, policy=policy_id)
        return Recipe(policy=policy.policy, ring=self.ring, seed=secrets.token_hex(16) if seed is None else seed)

    def ready(self, policy_id: str, seed: int | None) -> Ready:
        """Return a policy ready for use in this process."""
        recipe = self.recipe(policy_id, seed)
        return Ready(self.shelf.get(policy_id), recipe.ring, recipe.seed)

    def reveal(self, policy_id: str, texts: Sequence[str]) -> list[tuple[str, int, int]]:
        """Return each text with its tokens opened, how many were, and how many this server cannot open."""
        cipher = Ciphers(self.ring, self.shelf.get(policy_id).policy.key_ref)
        return [reveal(text, cipher) for text in texts]
