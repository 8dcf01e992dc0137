"""Errors as RFC 9457 problems: the rules say what is wrong, here it gets its status and its shape."""

import logging
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.plugins.problem_details import ProblemDetailsConfig, ProblemDetailsException, ProblemDetailsPlugin

from domain import errors
from domain.errors import Flaw

log = logging.getLogger(__name__)

STATUS: dict[type[errors.DomainError], int] = {
    errors.Invalid: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.KeyReused: 422,
    errors.Locked: 423,
    errors.Damaged: 460,
    errors.Unavailable: 503,
    errors.Ghost: 503,
}
MEDIA_TYPE = "application/problem+json"
DESCRIBED = {
    400: "Malformed or invalid; `errors` names every wrong field.",
    404: "Unknown.",
    409: "Not possible in the present state, or the name is in use.",
}
"""What the OpenAPI document says of errors."""
RETRY_SECONDS = 2
"""When to repeat a request that found something unavailable."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error as every endpoint answers it, `application/problem+json`."""

    type: str
    """Stable: `urn:tuneyard:<kind>`."""
    title: str
    status: int
    detail: str
    errors: list[Flaw] = []
    """For a bad body or parameter: every wrong field."""


def plugin() -> ProblemDetailsPlugin:
    """Return the plugin that turns everything that can go wrong into a problem."""
    return ProblemDetailsPlugin(
        ProblemDetailsConfig(
            exception_to_problem_detail_map={
                errors.DomainError: _of_rule,
                ValidationException: _of_parameters,
                HTTPException: _of_http,
                RecursionError: lambda _: _of_rule(errors.Invalid("the body is nested too deeply")),
            }
        )
    )


def unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Answer an error of our own making: logged in full, said in one line."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _problem(500, "internal", "Something broke on our side", "the server's log has the details").to_response(request)


def _of_rule(error: errors.DomainError) -> ProblemDetailsException:
    kind = next(each for each in type(error).__mro__ if each in STATUS or each is errors.DomainError)
    extra: dict[str, Any] = {name: value for name, value in error.facts.items() if name not in _OWN}
    if isinstance(error, errors.Invalid) and error.flaws:
        extra["errors"] = error.flaws
    headers = {}
    if isinstance(error, errors.Unavailable):
        headers["Retry-After"] = str(RETRY_SECONDS)
    if isinstance(error, errors.Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    return _problem(STATUS.get(kind, 500), error.kind, error.title, error.detail, extra, headers)


_OWN = frozenset({"type", "title", "status", "detail", "errors"})
"""Members that a fact may not overwrite."""


def _of_parameters(error: ValidationException) -> ProblemDetailsException:
    extra = error.extra if isinstance(error.extra, list) else []
    flaws = [Flaw(str(each.get("key", "")), str(each.get("message", ""))) for each in extra if isinstance(each, dict)]
    detail = "; ".join(f"{flaw.field}: {flaw.message}" for flaw in flaws) or str(error.detail)
    return _of_rule(errors.Invalid(detail, flaws))


def _of_http(error: HTTPException) -> ProblemDetailsException:
    status = HTTPStatus(error.status_code)
    title = status.phrase.capitalize()
    detail = status.description if error.detail in ("", status.phrase) else str(error.detail)
    return _problem(error.status_code, title.lower().replace(" ", "-"), title, detail, headers=dict(error.headers or {}))


def _problem(
    status: int, kind: str, title: str, detail: str, extra: dict[str, Any] | None = None, headers: dict[str, str] | None = None
) -> ProblemDetailsException:
    return ProblemDetailsException(
        status_code=status, type_=f"urn:tuneyard:{kind}", title=title, detail=detail, extra=extra or None, headers=headers or None
    )
