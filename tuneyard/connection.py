"""How a server is spoken to: the answers to calls, pages and streams, and in words what went wrong.

What no server answers is sent again, for a short time, where that is safe: an order carries a key by which the server knows it again,
so that it is done once.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from math import inf
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit
from uuid import uuid4

import httpx
from httpx_sse import SSEError, connect_sse

from tuneyard.answers import Json, Line

DEFAULT_URL = "http://127.0.0.1:8000"
QUIET_SECONDS = 45.0
"""A live stream says something every 15 seconds; after three times that it is dead."""
INSISTING_SECONDS = 10.0
"""After the first failure: a server that is restarted answers again within this, and people wait no longer for one that is not there."""
LARGEST_PAGE = 500
HTTP_UNAVAILABLE = 503


class TuneyardError(Exception):
    """Something went wrong; the text says what, and where known what to do."""


class Unreachable(TuneyardError):
    """No server answers, or it cannot serve just now."""


class ApiError(TuneyardError):
    """The server refused; `errors` names each wrong field."""

    def __init__(self, status: int, title: str, detail: str, errors: list[Json]) -> None:
        super().__init__(detail or title)
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = errors

    def __str__(self) -> str:
        """Title and detail on a line, then one line per wrong field."""
        first = f"{self.title}: {self.detail}" if self.detail else self.title
        new = [each for each in self.errors if str(each.get("message", "")) not in self.detail]
        return "\n".join([first, *(f"  {each.get('field')}: {each.get('message')}" for each in new)])


class Connection:
    """One server; its address and token come from TUNEYARD_URL and TUNEYARD_TOKEN unless given. `timeout` is in seconds, per answer."""

    def __init__(self, url: str | None = None, token: str | None = None, *, language: str = "zh", timeout: float = 30.0) -> None:
        self.url = (url or os.environ.get("TUNEYARD_URL") or DEFAULT_URL).rstrip("/")
        token = token or os.environ.get("TUNEYARD_TOKEN")
        headers = {"Accept-Language": language} | ({"Authorization": f"Bearer {token}"} if token else {})
        try:
            # A proxy of the environment would look for this very machine on another one.
            trust_env = not is_loopback(urlsplit(self.url).hostname or "")
            self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout, trust_env=trust_env)
        except (httpx.InvalidURL, ValueError) as problem:
            raise TuneyardError(f"{self.url} cannot be used as the address of a server: {problem}") from problem

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def call(self, method: str, path: str, **options: Any) -> Any:  # noqa: ANN401 - JSON
        """Any call of the API: the JSON it answers; `options` are httpx's, such as json and params."""
        return self._answer(method, path, **options).json()

    def upload(self, path: str, file: Path) -> Json:
        """PUT a file as the API takes it; TuneyardError when it cannot be read."""
        try:
            with file.open("rb") as content:
                answer: Json = self.call("PUT", path, files={"file": (file.name, content)})
        except OSError as problem:
            raise TuneyardError(f"{file} cannot be read: {problem.strerror}") from problem
        return answer

    @contextmanager
    def _said_plainly(self, what_then: str) -> Iterator[None]:
        """Say as an error for people what went wrong with an exchange; `what_then` is what comes of it."""
        try:
            yield
        except httpx.HTTPStatusError as refused:
            raise _refusal(refused.response) from None
        except (httpx.HTTPError, SSEError) as problem:
            raise Unreachable(f"the server at {self.url} broke off ({_words(problem)}); {what_then}") from problem

    def _once(self, path: str, **options: Any) -> Any:  # noqa: ANN401 - JSON
        """POST, again while no answer comes or the server cannot serve: under one key, so that it is done once however often it arrives."""
        key = {"Idempotency-Key": f'"{uuid4()}"'}
        end, pause = inf, 0.1
        while True:
            try:
                found = self.call("POST", path, headers=key, **options)
            except Unreachable:
                end = min(end, time.monotonic() + INSISTING_SECONDS)
                if time.monotonic() + pause > end:
                    raise
            else:
                return found
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def _stream(self, path: str, after: int | None) -> Iterator[tuple[str, Line | None]]:
        """Each event of one connection, which may end at any time; the first, `open`, says that a server answered."""
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        timeout = httpx.Timeout(QUIET_SECONDS)
        with (
            self._said_plainly("followed again, it misses nothing"),
            connect_sse(self._http, "GET", path, headers=headers, timeout=timeout) as source,
        ):
            if source.response.is_error:
                source.response.read()
                raise _refusal(source.response)
            yield "open", None
            for event in source.iter_sse():
                yield event.event, json.loads(event.data or "{}")  # a comment comes out as an event without data: a sign of life

    def _pages(self, path: str, limit: int | None, wanted: dict[str, str]) -> list[Any]:
        """Items from as many pages as it takes."""
        items: list[Any] = []
        params: dict[str, Any] = {**wanted, "page_size": min(limit or LARGEST_PAGE, LARGEST_PAGE)}
        answer = self._answer("GET", path, params=params)
        while True:
            found = answer.json()
            items += found["items"] if isinstance(found, dict) else found
            following = answer.links.get("next", {}).get("url")
            if not following or (limit is not None and len(items) >= limit):
                return items[:limit]
            answer = self._answer("GET", following)

    def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own
        """The answer, once it is a good one."""
        try:
            response = self._http.request(method, path, **options)
        except httpx.HTTPError as problem:
            raise Unreachable(f"no Tuneyard server answers at {self.url} ({_words(problem)})") from problem
        if response.is_error:
            raise _refusal(response)
        return response


def _refusal(response: httpx.Response) -> TuneyardError:
    """What a bad answer means."""
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or "title" not in problem:
        return ApiError(response.status_code, f"{response.status_code} {response.reason_phrase}", response.text[:200].strip(), [])
    error = ApiError(response.status_code, str(problem["title"]), str(problem.get("detail") or ""), list(problem.get("errors") or []))
    return Unreachable(str(error)) if response.status_code == HTTP_UNAVAILABLE else error


def path_of(*parts: str) -> str:
    """A path of the API, of names that may hold anything."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


def _words(problem: Exception) -> str:
    return str(problem).lower() or type(problem).__name__


def is_loopback(name: str) -> bool:
    """Whether nobody but this machine reaches it."""
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
