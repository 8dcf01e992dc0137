"""The people of a soak: each launches a run, watches, cancels, resumes or repeats; what was not answered is asked again with its key."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx

from tests.house import TERMINAL
from tests.soak.plan import Plan, Story
from tests.soak.record import Answer, Followed, Listing, Said
from tests.soak.world import PROJECT, World
from tuneyard.client import Client

PEOPLE = 12
"""How many of them act at once."""
STUBBORNNESS = 90.0
"""Seconds for which a request is repeated."""
PAUSE = 0.2
WAIT = 15.0
"""Seconds that a request may take before it counts as not answered."""
CONFLICT = 409


class Crowd:
    """All of them."""

    def __init__(self, world: World, plan: Plan) -> None:
        self._world = world
        self._plan = plan
        self._pool = ThreadPoolExecutor(PEOPLE, "person")
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._come, name="crowd")
        self._lives: list[Future[None]] = []

    def start(self) -> None:
        """Let them come as planned."""
        self._thread.start()

    def finish(self) -> None:
        """Wait until the last has gone."""
        self._thread.join()
        for story, life in zip(self._plan.stories, self._lives, strict=False):
            if (problem := life.exception()) is not None:
                self._world.record.troubles.append(f"story {story.number}: {problem!r}")

    def stop(self) -> None:
        """Send them home."""
        self._closing.set()
        if self._thread.ident:
            self._thread.join()
        self._pool.shutdown(cancel_futures=True)

    def _come(self) -> None:
        began = time.monotonic()
        for story in self._plan.stories:
            if self._closing.wait(max(0.0, began + story.at - time.monotonic())):
                return
            self._lives.append(self._pool.submit(_Person(self._world, story, self._closing).live))


class _Person:
    """One of them, and one run."""

    def __init__(self, world: World, story: Story, closing: threading.Event) -> None:
        self._world = world
        self._record = world.record
        self._story = story
        self._closing = closing

    def live(self) -> None:
        """Do as the story says."""
        with httpx.Client(base_url=self._world.house.url, timeout=WAIT, trust_env=False) as self._client:
            story, runs = self._story, f"/projects/{PROJECT}/runs"
            body = {"labels": {"story": str(story.number)}, "hyperparameters": story.toy, "resources": {"gpu_count": story.gpus}}
            key = str(uuid4())
            run = self._keyed("launch", key, runs, json=body)
            if run is None:
                return
            follower = threading.Thread(target=self._follow, args=(run["id"],)) if story.follows else None
            if follower:
                follower.start()
            self._closing.wait(story.after)
            match story.end:
                case "cancel":
                    self._cancel(run["id"])
                case "repeat":
                    self._keyed("launch", key, runs, json=body)
                case "resume":
                    self._resume(run["id"])
                case "nothing":
                    self._look(run["id"])
            if follower:
                follower.join()

    def _cancel(self, run: str) -> None:
        key, path = str(uuid4()), f"/projects/{PROJECT}/runs/{run}/cancel"
        headers = {"Prefer": f"wait={int(self._story.after)}"}
        self._keyed("cancel", key, path, headers=headers)
        self._keyed("cancel", key, path, headers=headers)

    def _resume(self, run: str) -> None:
        """Wait for its end, and go on from its newest complete checkpoint, if it has one."""
        shown = self._ended(run)
        complete = [each for each in (shown or {}).get("artifacts", []) if each["type"] == "checkpoint" and each["complete"]]
        if not complete:
            return
        newest = max(complete, key=lambda each: each["step"])
        toy = self._story.toy | {"toy_steps": newest["step"] + 10, "toy_exit": 0}
        body = {"labels": {"story": f"{self._story.number} resumed"}, "hyperparameters": toy}
        path = f"/projects/{PROJECT}/runs/{run}/resume?source_artifact_id={newest['id']}"
        self._keyed("resume", str(uuid4()), path, json=body)

    def _look(self, run: str) -> None:
        """Look at the run and at the list until it has ended."""
        self._answered("GET", f"/projects/{PROJECT}/runs?page_size=20")
        self._ended(run)

    def _ended(self, run: str) -> dict[str, Any] | None:
        end = time.monotonic() + STUBBORNNESS
        while time.monotonic() < end and not self._closing.is_set():
            answer = self._answered("GET", f"/projects/{PROJECT}/runs/{run}")
            shown: dict[str, Any] = answer.json() if answer is not None and answer.is_success else {}
            for each in shown.get("artifacts", []):
                if each["complete"]:
                    self._record.listings.append(Listing(each["id"], run, each["path"], each["size_bytes"]))
            if shown.get("status") in TERMINAL:
                return shown
            self._closing.wait(PAUSE)
        return None

    def _follow(self, run: str) -> None:
        """Follow the log to its end, over every interruption."""
        try:
            with Client(self._world.house.url) as tuneyard:
                lines = list(tuneyard.follow(PROJECT, run, patience=STUBBORNNESS))
        except Exception as problem:  # noqa: BLE001 - whatever it is, the stream broke
            if not self._closing.is_set():
                self._record.unaccepted.append(f"following run {run}: {problem!r}")
        else:
            self._record.followed.append(Followed(run, [line.get("number", -1) for line in lines], [line["message"] for line in lines]))

    def _keyed(self, what: str, key: str, path: str, **request: Any) -> dict[str, Any] | None:
        """Ask until there is an answer that stands; None when there never is, or a conflict."""
        headers = {"Idempotency-Key": key} | request.pop("headers", {})
        end = time.monotonic() + STUBBORNNESS
        last = ""
        while time.monotonic() < end and not self._closing.is_set():
            answer = self._answered("POST", path, headers=headers, **request)
            if answer is not None and answer.status_code < 500:
                self._record.answers.append(Answer(key, what, answer.status_code, answer.json()))
                return dict(answer.json()) if answer.is_success else None
            last = "no answer" if answer is None else answer.text[:300]
            self._closing.wait(PAUSE)
        if not self._closing.is_set():
            self._record.unaccepted.append(f"{what} of story {self._story.number}: {last}")
        return None

    def _answered(self, method: str, path: str, **request: Any) -> httpx.Response | None:
        """Ask once; None when no answer came."""
        began, at = time.monotonic(), time.time()
        try:
            answer = self._client.request(method, path, **request)
        except httpx.TransportError:
            return None
        seconds = time.monotonic() - began
        text = "" if answer.is_success else answer.text[:300]
        self._record.said.append(Said(at, f"{method} {path}", answer.status_code, seconds, answer.headers.get("Retry-After"), text))
        return answer
