"""A policy: which types are sought and what takes their place. Read once, compiled once, then only used.

Its revision is its version and the sum of its content.

A policy that cannot mean what it says is refused: an unknown key, an unknown type, a pattern that some text could keep busy.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from domain.deid import words
from domain.deid.contextual import CONTEXTUAL
from domain.deid.digital import DIGITAL
from domain.deid.entities import ENTITIES
from domain.deid.linear import why_not_linear
from domain.deid.operators import NUMERIC, REVERSIBLE, Fpe, Mask, Operator, Pseudonym
from domain.deid.people import PEOPLE
from domain.deid.rule import SHAPED, SPOKEN, Around, Found, Rule
from domain.deid.structural import STRUCTURAL

BUILT_IN: tuple[Rule, ...] = (*STRUCTURAL, *DIGITAL, *CONTEXTUAL, *PEOPLE)
"""Every rule of ours. One scanner is made for all of them; a policy takes those it wants."""
MOST_PATTERNS = 50
LONGEST_MATCH = 128
"""Characters of a policy's own pattern."""

TypeName = Annotated[str, Meta(pattern="^[A-Z][A-Z0-9_]{1,39}$")]
Text = Annotated[str, Meta(min_length=1, max_length=64)]


class PolicyError(ValueError):
    """A policy cannot be used; the message says why, and where."""


class _Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a policy's YAML."""


class Hotwords(_Part, frozen=True):
    """Words before a value: `boost` makes it surer, `veto` makes it nothing."""

    boost: list[Text] = []
    veto: list[Text] = []
    before: Annotated[int, Meta(ge=1, le=words.WINDOW)] = 16
    """How many characters before the value are read."""


class Detector(_Part, frozen=True):
    """What is sought: a type that is known here, or one of the policy's own with its pattern."""

    type: TypeName
    pattern: Annotated[str, Meta(min_length=2, max_length=500)] | None = None
    """A regular expression that is linear in the text and cannot match more than 128 characters; only for a type of the policy's own."""
    score: Annotated[float, Meta(gt=0, le=1)] = 0.9
    hotwords: Hotwords | None = None


class Defaults(_Part, frozen=True):
    """What holds where nothing else is said."""

    operator: Operator = Pseudonym()
    min_score: Annotated[float, Meta(ge=0, le=1)] = 0.6
    """Values that are less sure are left alone."""


class Allow(_Part, frozen=True):
    """What is left alone."""

    values: list[Text] = []
    """Whole values, as they stand in the text."""
    patterns: list[Text] = []
    """Regular expressions, found anywhere in a value; linear like all."""
    types: list[TypeName] = []


class Mapping(_Part, frozen=True):
    """Whether a caller may have the originals back with the answer."""

    allowed: bool = True


class Json(_Part, frozen=True):
    """Which strings of a JSON line are looked at: all, but those under `exclude`; only those under `include`, if it names any."""

    include: list[Text] = []
    exclude: list[Text] = []
    key_hotwords: bool = True
    """The name of a field counts as a word before its value."""


class Policy(_Part, frozen=True):
    """A policy as its YAML says it."""

    id: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    version: Annotated[int, Meta(ge=1)]
    description: Annotated[str, Meta(max_length=500)] = ""
    language: Literal["zh", "en"] = "zh"
    """The language of labels such as `<手机号>`."""
    key_ref: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9/_-]{0,63}$")] = "deid/main"
    """Names the key that is derived from the server's for this policy; policies of one name give one token for one value."""
    defaults: Defaults = Defaults()
    detectors: Annotated[list[Detector], Meta(max_length=MOST_PATTERNS)] | None = None
    """What is sought; all types but PERSON and ADDRESS where nothing is said."""
    also: list[TypeName] = []
    """Types sought besides: PERSON, ADDRESS."""
    operators: dict[TypeName, Operator] = {}
    allow: Allow = Allow()
    json: Json = Json()
    mapping: Mapping = Mapping()


class CompiledPolicy(Struct, frozen=True, kw_only=True):
    """A policy ready for use. `rules` are its own; the wanted places count those of ours first, then these."""

    policy: Policy
    revision: str
    wanted: frozenset[int]
    rules: tuple[Rule, ...]
    operators: dict[str, Operator]
    hotwords: dict[str, tuple[re.Pattern[str] | None, re.Pattern[str] | None, int]]
    allowed: frozenset[str]
    allowed_patterns: tuple[re.Pattern[str], ...]

    @property
    def id(self) -> str:
        """What it is asked for by."""
        return self.policy.id

    @property
    def types(self) -> list[str]:
        """The types that it seeks."""
        rules = (*BUILT_IN, *self.rules)
        return sorted({rules[place].type for place in self.wanted})

    @property
    def needs_key(self) -> bool:
        """Whether what it makes could be opened by anybody if the server had no key of its own."""
        return any(isinstance(each, REVERSIBLE) for each in (self.policy.defaults.operator, *self.operators.values()))

    def operator(self, type_: str) -> Operator:
        """What meets a value of this type."""
        return self.operators.get(type_, self.policy.defaults.operator)


def read(values: dict[str, Any]) -> Policy:
    """Read a policy from the values of its YAML; PolicyError names what is wrong."""
    try:
        return msgspec.convert(values, Policy)
    except msgspec.ValidationError as wrong:
        raise PolicyError(_readable(str(wrong))) from None


def compiled(policy: Policy) -> CompiledPolicy:
    """Make a policy ready for use; PolicyError when it cannot mean what it says."""
    detectors = (
        policy.detectors if policy.detectors is not None else [Detector(type=name) for name, each in ENTITIES.items() if not each.opt_in]
    )
    detectors = [*detectors, *(Detector(type=name) for name in policy.also)]
    own = tuple(_own_rule(each) for each in detectors if each.type not in ENTITIES)
    sought = {each.type for each in detectors} - set(policy.allow.types)
    _require_known(policy, sought)
    wanted = frozenset(place for place, rule in enumerate((*BUILT_IN, *own)) if rule.type in sought)
    return CompiledPolicy(
        policy=policy,
        revision=f"{policy.version}-{hashlib.sha256(msgspec.json.encode(policy, order='sorted')).hexdigest()[:12]}",
        wanted=wanted,
        rules=own,
        operators=policy.operators,
        hotwords={each.type: _hotwords(each.hotwords) for each in detectors if each.hotwords is not None},
        allowed=frozenset(policy.allow.values),
        allowed_patterns=tuple(_linear(pattern, f"allow.patterns[{i}]") for i, pattern in enumerate(policy.allow.patterns)),
    )


def _readable(wrong: str) -> str:
    text, _, place = wrong.partition(" - at `$")
    place = place.rstrip("`").lstrip(".")
    return f"{place}: {text[:1].lower()}{text[1:]}" if place else text[:1].lower() + text[1:]


def _require_known(policy: Policy, sought: set[str]) -> None:
    known = sought | set(ENTITIES)
    for where, names in (("operators", policy.operators), ("allow.types", policy.allow.types), ("also", policy.also)):
        for name in names:
            if name not in known:
                message = f"{where}: there is no type {name}; known are {', '.join(sorted(known))}"
                raise PolicyError(message)
    for name, operator in policy.operators.items():
        if isinstance(operator, Fpe) and name not in NUMERIC:
            message = f"operators.{name}: fpe encrypts digits, so it suits {', '.join(sorted(NUMERIC))}; use token for {name}"
            raise PolicyError(message)
        if isinstance(operator, Mask) and name == "PERSON" and operator.keep_first + operator.keep_last > 1:
            message = f"operators.{name}: a name that keeps more than one character is not masked"
            raise PolicyError(message)


def _own_rule(detector: Detector) -> Rule:
    if detector.pattern is None:
        message = f"detectors: {detector.type} is no type that is known here, so it needs a pattern; known are {', '.join(ENTITIES)}"
        raise PolicyError(message)
    pattern = _linear(detector.pattern, f"detectors: the pattern of {detector.type}")

    def judge(match: re.Match[str], _: Around) -> Found | None:
        return Found(*match.span(), SPOKEN if detector.score > 0.8 else SHAPED, detector.score) if match[0] else None  # noqa: PLR2004 - sure enough to win

    return Rule(id=detector.type.lower(), type=detector.type, pattern=pattern, judge=judge, anchors=())


def _linear(pattern: str, where: str) -> re.Pattern[str]:
    if reason := why_not_linear(pattern, longest=LONGEST_MATCH):
        message = f"{where} is refused: {reason}"
        raise PolicyError(message)
    return re.compile(pattern)


def _hotwords(hotwords: Hotwords) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None, int]:
    return _any_of(hotwords.boost), _any_of(hotwords.veto), hotwords.before


def _any_of(each: Sequence[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(map(re.escape, each)), re.IGNORECASE) if each else None
