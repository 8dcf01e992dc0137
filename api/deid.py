"""De-identification over HTTP: try a policy on texts, see the policies, open tokens. Texts and originals are never logged or stored."""

import asyncio
from typing import Annotated, Any, Literal

from litestar import Controller, Response, get, post
from litestar.params import FromPath, JSONBody
from litestar.status_codes import HTTP_200_OK
from msgspec import UNSET, Meta, Struct, UnsetType, to_builtins

from api.provide import Caller, TheCaller
from domain.access.principal import Role
from domain.deid.clean import Change, Cleaned
from domain.deid.entities import label
from domain.deid.policy import CompiledPolicy
from domain.deid.text import OffsetUnit, counter, first_lone_surrogate
from domain.errors import Flaw, Forbidden, Invalid, TooLarge
from domain.events.actions import record

MOST_TEXTS = 1_000
MOST_BYTES = 1024 * 1024
"""UTF-8 bytes of all texts of a request together."""
LARGEST_BODY = 8 * 1024 * 1024
"""Bytes of the request's JSON, in which one byte of text may take six."""
IN_A_THREAD_BYTES = 64 * 1024
"""Beyond this the work, some milliseconds, leaves the event loop."""


class DeidOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to answer."""

    return_mapping: bool = False
    """Give the originals beside their replacements; needs the role, and is in the record."""
    seed: int | None = None
    """The same seed gives the same surrogates, everywhere and always; without one they are fresh."""
    offset_unit: OffsetUnit = "code_point"
    """What offsets count: code points (Python), UTF-16 units (JavaScript, Java), or UTF-8 bytes (Go, Rust)."""


class DeidRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Texts, and what to do with them."""

    policy_id: str = "default"
    text: list[str] | str
    """The texts, at most a thousand and 1 MiB together; or one text."""
    options: DeidOptions = DeidOptions()


class DeidSpan(Struct, frozen=True, kw_only=True):
    """A value that was found: where it was in the text that came, and where its replacement is in the one that goes. Ends are exclusive."""

    type: str
    type_label: str
    start: int
    end: int
    out_start: int
    out_end: int
    operator: str
    score: float
    rule: str


class DeidResult(Struct, frozen=True, kw_only=True):
    """One text afterwards."""

    text: str
    spans: list[DeidSpan]


class DeidMapping(Struct, frozen=True, kw_only=True):
    """A replacement and its original; `index` is the text's, `start` and `end` are the original's place in it."""

    index: int
    type: str
    original: str
    replacement: str
    start: int
    end: int


class DeidResponse(Struct, frozen=True, kw_only=True):
    """The texts in the order they came, and what was found."""

    policy_id: str
    policy_revision: str
    seed: int | None
    offset_unit: OffsetUnit
    security: Literal["keyed", "test-only"]
    """`test-only`: this server has no key, so anybody can make the same surrogates."""
    key_id: str
    results: list[DeidResult]
    mapping: list[DeidMapping] | UnsetType = UNSET
    """Only when it was asked for."""
    stats: dict[str, int]
    """How many of each type."""


class DeidPolicy(Struct, frozen=True, kw_only=True):
    """A policy as it is listed."""

    id: str
    revision: str
    description: str
    types: list[str]


class DeidPolicyDetail(Struct, frozen=True, kw_only=True):
    """A policy in full."""

    id: str
    revision: str
    types: list[str]
    definition: dict[str, Any]
    """What its YAML says."""


class DeidPolicies(Struct, frozen=True, kw_only=True):
    """All policies."""

    policies: list[DeidPolicy]
    problem: str | None
    """Why a change of the files is not in use."""


class RevealRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Texts with tokens in them."""

    policy_id: str = "reversible"
    text: list[str] | str
    reason: Annotated[str, Meta(max_length=500)] = ""
    """Kept in the record."""


class Revealed(Struct, frozen=True, kw_only=True):
    """A text with its tokens opened."""

    text: str
    opened: int
    unopened: int
    """Tokens that no key of this server opens."""


class RevealResponse(Struct, frozen=True, kw_only=True):
    """The texts in the order they came."""

    results: list[Revealed]


class DeidController(Controller):
    """De-identification."""

    path = "/v1"
    tags = ("de-identification",)

    @post("/deidentify:test", status_code=HTTP_200_OK, request_max_body_size=LARGEST_BODY)
    async def deidentify(self, caller: TheCaller, data: JSONBody[DeidRequest]) -> Response[DeidResponse]:
        """De-identify texts by a policy: the same input, policy and seed give the same output."""
        texts = _texts(data.text)
        options = data.options
        ready = caller.world.deid.ready(data.policy_id, options.seed)
        if options.return_mapping:
            _require_mapping(caller, ready.policy)
        cleaned = await _out_of_the_way(texts, ready.texts, now=ready.warm)
        if options.return_mapping:
            await _record(caller, "deid.mapping_returned", data.policy_id, {"values": sum(len(each.changes) for each in cleaned)})
        answer = _answer(caller, ready.policy, data, texts, cleaned)
        return Response(answer, headers={"Cache-Control": "no-store"} if options.return_mapping else None)

    @post("/deidentify:reveal", status_code=HTTP_200_OK, request_max_body_size=LARGEST_BODY)
    async def reveal(self, caller: TheCaller, data: JSONBody[RevealRequest]) -> Response[RevealResponse]:
        """Open the tokens in texts; needs the role, and is always in the record."""
        _require_role(caller)
        texts = _texts(data.text)
        opened = await _out_of_the_way(texts, lambda each: caller.world.deid.reveal(data.policy_id, each))
        facts = {"opened": sum(count for _, count, _ in opened), "unopened": sum(count for _, _, count in opened), "reason": data.reason}
        await _record(caller, "deid.revealed", data.policy_id, facts)
        results = [Revealed(text=text, opened=count, unopened=closed) for text, count, closed in opened]
        return Response(RevealResponse(results=results), headers={"Cache-Control": "no-store"})

    @get("/deid-policies")
    async def list_policies(self, caller: TheCaller) -> DeidPolicies:
        """List the policies."""
        shelf = caller.world.deid.shelf
        policies = [
            DeidPolicy(id=each.id, revision=each.revision, description=each.policy.description, types=each.types)
            for each in shelf.all().values()
        ]
        return DeidPolicies(policies=policies, problem=shelf.problem)

    @get("/deid-policies/{policy_id:str}")
    async def show_policy(self, caller: TheCaller, policy_id: FromPath[str]) -> DeidPolicyDetail:
        """Show one policy with its detectors and operators."""
        policy = caller.world.deid.shelf.get(policy_id)
        return DeidPolicyDetail(id=policy.id, revision=policy.revision, types=policy.types, definition=to_builtins(policy.policy))


def _texts(text: list[str] | str) -> list[str]:
    """Return the texts; TooLarge beyond the limits, Invalid for what no encoding can write."""
    texts = [text] if isinstance(text, str) else text
    if len(texts) > MOST_TEXTS:
        message = f"there are {len(texts):,} texts; at most {MOST_TEXTS:,} are taken at once"
        raise TooLarge(message, limit_texts=MOST_TEXTS)
    if (index := first_lone_surrogate(texts)) is not None:
        message = "holds half a surrogate pair, which is no character"
        raise Invalid(f"text[{index}] {message}", [Flaw(f"text[{index}]", message)])
    size = sum(len(each.encode()) for each in texts)
    if size > MOST_BYTES:
        message = f"the texts have {size:,} bytes together; at most {MOST_BYTES:,} are taken at once"
        raise TooLarge(message, limit_bytes=MOST_BYTES)
    return texts


async def _out_of_the_way(texts: list[str], work: Any, *, now: bool = True) -> Any:  # noqa: ANN401 - whatever the work gives
    if now and sum(map(len, texts)) * 3 < IN_A_THREAD_BYTES:
        return work(texts)
    return await asyncio.to_thread(work, texts)


def _require_role(caller: Caller) -> None:
    if Role.revealer not in caller.roles:
        message = f"originals are shown only to those with the role {Role.revealer}"
        raise Forbidden(message)


def _require_mapping(caller: Caller, policy: CompiledPolicy) -> None:
    _require_role(caller)
    if not policy.policy.mapping.allowed:
        message = f"the policy {policy.id} allows no mapping to the originals (mapping.allowed is false)"
        raise Forbidden(message)


async def _record(caller: Caller, kind: str, policy_id: str, facts: dict[str, Any]) -> None:
    """Write that originals were given, to whom and by which policy; never which."""
    await caller.db.run(lambda tx: record(tx, kind, policy_id, **facts))


def _answer(caller: Caller, policy: CompiledPolicy, asked: DeidRequest, texts: list[str], cleaned: list[Cleaned]) -> DeidResponse:
    unit, engine = asked.options.offset_unit, caller.world.deid
    results, mapping, stats = [], [], dict[str, int]()
    for index, (text, each) in enumerate(zip(texts, cleaned, strict=True)):
        spans = _spans(text, each, unit, caller.language)
        results.append(DeidResult(text=each.text, spans=spans))
        for span, change in zip(spans, each.changes, strict=True):
            stats[change.type] = stats.get(change.type, 0) + 1
            if asked.options.return_mapping:
                mapping.append(_mapped(index, change, span))
    return DeidResponse(
        policy_id=policy.id,
        policy_revision=policy.revision,
        seed=asked.options.seed,
        offset_unit=unit,
        security=engine.security,
        key_id=engine.key.id,
        results=results,
        mapping=mapping if asked.options.return_mapping else UNSET,
        stats=stats,
    )


def _spans(text: str, cleaned: Cleaned, unit: OffsetUnit, language: str) -> list[DeidSpan]:
    there, here = counter(text, unit), counter(cleaned.text, unit)
    return [
        DeidSpan(
            type=each.type,
            type_label=label(each.type, language),
            start=there(each.start),
            end=there(each.end),
            out_start=here(each.out_start),
            out_end=here(each.out_end),
            operator=each.operator,
            score=round(each.score, 2),
            rule=each.rule,
        )
        for each in cleaned.changes
    ]


def _mapped(index: int, change: Change, span: DeidSpan) -> DeidMapping:
    return DeidMapping(
        index=index, type=change.type, original=change.original, replacement=change.replacement, start=span.start, end=span.end
    )
