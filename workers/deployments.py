"""What a host does for a deployment: it finds the model and a port, asks the server how it is, and says so.

Readiness, health and the one-token probe are asked here and nowhere else; what they mean, the rules say.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from msgspec import Struct

from domain.deployments import actions, hosting, queries, vllm
from domain.deployments.deployment import Deployment, DeploymentStatus
from domain.deployments.figures import Reading
from domain.deployments.health import Beat, Pulse
from domain.deployments.vllm import Adapter, Serving
from domain.errors import Conflict, DomainError, Ghost, Invalid, Unavailable
from domain.ids import ProcessId
from domain.processes.condition import ConditionName
from domain.processes.end import End
from domain.processes.failure import Failure, FailureClass
from domain.processes.ports import BadInput, CannotStart, Executor, Sight
from domain.processes.process import Phase, Process
from domain.runs.said import Said
from domain.runs.terminal import untangle
from infra.servers import Asker, Server, is_free, is_loopback
from workers.hand import Hand
from workers.life import Order

log = logging.getLogger(__name__)

READY_SECONDS = 0.5
"""How often a server that loads its model is asked whether it has."""
FIGURES_SECONDS = 15.0
MEMORY_SECONDS = 15.0
"""How long the GPUs' memory may take to come back once the last process is dead."""
CONDEMNED_GRACE = timedelta(seconds=5)
"""A server that does not answer is asked once; it has little to finish."""
ADAPTER = "adapter_config.json"
LARGEST_CONFIG = 1024 * 1024


async def take(hand: Hand, process_id: ProcessId) -> tuple["Deployed", Process] | None:
    """Claim the start of a deployment's process; None when the deployment is over."""
    deployment, process = await hand.db.run(hosting.take, process_id, hand.speaker)
    return None if deployment.over else (Deployed(hand, deployment, process), process)


async def roll_over(hand: Hand) -> None:
    """Begin to replace those that follow a tag which something newer bears by now."""
    grace = timedelta(seconds=hand.settings.deployment_grace_seconds)
    for deployment_id in await hand.db.read(queries.to_roll_over, hand.speaker.name):
        try:
            await hand.db.run(actions.roll_over, deployment_id, grace=grace)
        except DomainError as problem:
            log.warning("deployment %s cannot roll over: %s", deployment_id, problem.detail)


class AdapterConfig(Struct, frozen=True):
    """What `adapter_config.json` says of an adapter."""

    base_model_name_or_path: str | None = None
    r: int | None = None


class Deployed:
    """One deployment, as the host sees to it."""

    noun = "deployment"

    def __init__(self, hand: Hand, deployment: Deployment, process: Process) -> None:
        self._hand = hand
        self._deployment = deployment
        self._id = process.id
        self._directory = hand.directory_of(process)
        self._noted = {each.name for each in deployment.conditions}
        self._pulse = Pulse(healthy=bool(deployment.health_ok))
        self._hung: str | None = None
        """Why the engine counts as hanging, since a probe was in vain."""
        self._read: Reading | None = None
        self._stopping_since: float | None = None

    @property
    def _ready(self) -> bool:
        """Whether this attempt has answered."""
        return self._deployment.healthy_at is not None

    async def order(self, process: Process) -> Order:
        """Find the model and a port, and say how its server begins; CannotStart with the reason."""
        home = self._hand.root / f"deployments/{self._deployment.id}"
        try:
            await asyncio.to_thread(home.mkdir, parents=True, exist_ok=True)
        except OSError as problem:
            raise CannotStart(f"the deployment's folder {home} cannot be made: {problem.strerror}") from None
        self._deployment = await self._with_port()
        key = self._key()
        try:
            serving = await asyncio.to_thread(self._serving, process)
            argv = vllm.argv_of(serving, self._hand.settings.serve_command)
        except Invalid as wrong:
            raise BadInput(wrong.detail) from None
        devices = {"CUDA_VISIBLE_DEVICES": ",".join(process.gpus)} if process.gpus else {}
        shown = vllm.shown_command(argv, devices | ({vllm.API_KEY: key} if key else {}))
        self._deployment = await self._hand.db.run(hosting.commanded, self._id, self._hand.speaker, shown)
        env = vllm.environment_of(serving, key) | {"TUNEYARD_DEPLOYMENT_ID": self._deployment.id}
        return Order(argv=argv, env=env, cwd=str(home))

    async def began(self, process: Process, sight: Sight) -> None:
        """Note who it is; that it answers, `attend` finds out."""
        if process.phase is Phase.starting and self._deployment.started_at is None:
            self._deployment = await self._hand.db.run(hosting.began, process.id, self._hand.speaker, sight)

    async def said(self, process: Process, output: bytes, *, final: bool) -> Process:
        """Store its lines."""
        page = untangle(output, final=final)
        if not page.consumed:
            return process
        said = Said(
            attempt=process.attempt,
            lines=page.lines,
            measured=[],
            progress=None,
            first_byte=process.log_offset,
            end_byte=process.log_offset + page.consumed,
            report_end=process.report_offset,
            seen_at=datetime.now(UTC),
        )
        return await self._hand.db.run(hosting.said, process.id, self._hand.speaker, said)

    async def look(self, process: Process) -> None:
        """Say so when it was asked politely to stop, and does not."""
        if process.stop_asked_at is None or process.stop_kill:
            return
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
        patience = process.stop_drain + (process.stop_grace or 0.0)
        if time.monotonic() - self._stopping_since > patience:
            reason = f"it was asked to stop and still lives after {patience:g} s; remove it with force=true to have it killed"
            await self.note(ConditionName.stop_ignored, reason)

    async def attend(self, executor: Executor) -> None:
        """Ask how it is, until cancelled."""
        asker, settings = self._hand.asker, self._hand.settings
        sight = await executor.look(self._directory)
        began = time.monotonic() - max(time.time() - (sight.started_at or time.time()), 0.0)
        await asyncio.gather(
            self._every(
                lambda: settings.health_seconds if self._ready else min(READY_SECONDS, settings.health_seconds), self._watch, asker, began
            ),
            self._every(lambda: settings.probe_seconds, self._probe, asker),
            self._every(lambda: min(FIGURES_SECONDS, settings.health_seconds * 3), self._measure, asker),
        )

    async def note(self, name: ConditionName, reason: str | None) -> None:
        """Write it down, unless it is already."""
        if (name in self._noted) is (reason is not None):
            return
        await self._hand.db.run(hosting.noted, self._id, self._hand.speaker, name, reason)
        self._noted ^= {name}

    async def freed(self, process: Process, left: list[int]) -> None:
        """Give back its GPUs once their memory is back, too; what does not come back is set aside."""
        give_up = time.monotonic() + MEMORY_SECONDS
        while (stuck := self._hand.memory_held(process.gpus)) and time.monotonic() < give_up:  # noqa: ASYNC110 - a driver rings no bell
            await asyncio.sleep(0.1)
        await self._hand.db.run(hosting.freed, process.id, self._hand.speaker, left, stuck)

    async def ended(self, end: End) -> None:
        """Settle the attempt: stopped, begun anew, or failed."""
        backoff = timedelta(seconds=self._hand.settings.deployment_retry_seconds)
        await self._hand.db.run(hosting.ended, self._id, self._hand.speaker, end, backoff=backoff)

    async def _with_port(self) -> Deployment:
        """Reserve a port that nobody listens on."""
        ports, address = self._hand.settings.ports, self._hand.settings.address
        avoiding = set[int]()
        while True:
            try:
                found = await self._hand.db.run(hosting.reserve, self._id, self._hand.speaker, ports, avoiding)
            except Conflict as full:
                raise CannotStart(full.detail, passing=True) from None
            if found.port is None or await asyncio.to_thread(is_free, address, found.port):
                return found
            avoiding.add(found.port)

    def _key(self) -> str | None:
        """Return the key that its server asks for, where others than this machine can reach it."""
        settings = self._hand.settings
        if is_loopback(settings.address):
            return None
        if settings.token is None:
            message = f"a deployment at {settings.address} can be reached by others and needs a key; set TUNEYARD_TOKEN as the API has it"
            raise CannotStart(message)
        return vllm.key_of(settings.token, self._deployment.id)

    def _serving(self, process: Process) -> Serving:
        """Say what is served: a model, or an adapter on its base model."""
        deployment, settings = self._deployment, self._hand.settings
        model = _located(self._hand.root, deployment.model)
        names, adapters = deployment.served_names, list[Adapter]()
        adapter = _adapter_config(Path(model))
        if adapter is not None:
            base = adapter.base_model_name_or_path or (deployment.release and deployment.release.base_model)
            if not base:
                raise BadInput(f"{deployment.model} is an adapter and does not say of which model; name it in its {ADAPTER}")
            adapters = [Adapter(name=name, path=model, rank=adapter.r) for name in names]
            model = _located(self._hand.root, base)
            names = [base]
        return Serving(
            model=model,
            names=names,
            host=settings.address,
            port=deployment.port or 0,
            gpus=len(process.gpus),
            adapters=adapters,
            extra_args=deployment.extra_args,
            drain_seconds=int(settings.deployment_grace_seconds),
        )

    async def _every(self, pause: Callable[[], float], step: Callable[..., Awaitable[None]], *about: object) -> None:
        """Take a step again and again; a database that does not answer hears of it the next time."""
        while True:
            await asyncio.sleep(pause())
            try:
                await step(*about)
            except (Unavailable, Conflict) as problem:
                log.warning("deployment %s: %s", self._deployment.id, problem.detail)
            except Ghost:
                return
            except Exception:
                log.exception("deployment %s could not be watched; it is tried again", self._deployment.id)

    async def _watch(self, asker: Asker, began: float) -> None:
        """Ask whether it is well; what has never answered has a deadline, what does not answer any more some looks."""
        server = self._server()
        if server is None:
            return
        self._pulse = self._pulse.after(await asker.health(server, self._deployment.health_path))
        await self._tell()
        limit = self._hand.settings.deployment_start_seconds
        if not self._ready and time.monotonic() - began > limit:
            reason = f"it did not answer {self._deployment.health_path} within {limit:g} s of its start"
            await self._condemn(FailureClass.timeout, reason)
        elif self._ready and self._pulse.lost:
            await self._condemn(FailureClass.infrastructure, f"it does not answer any more: {self._pulse.reason}")

    async def _probe(self, asker: Asker) -> None:
        """Ask for one token. Twice in vain, and no token made for anybody else meanwhile: the engine hangs."""
        server = self._server()
        if server is None or not self._ready:
            return
        before = await asker.metrics(server)
        beat = await asker.one_token(server, self._deployment.name, self._hand.settings.probe_seconds)
        after = None if beat.ok else await asker.metrics(server)
        if before and after and after.tokens > before.tokens:
            return  # it is busy with others
        twice, self._hung = bool(self._hung and beat.reason), beat.reason
        await self._tell()
        if twice and self._pulse.healthy:
            await self._condemn(FailureClass.infrastructure, f"its engine hangs, though it says that it is well: {beat.reason}, twice")

    async def _measure(self, asker: Asker) -> None:
        """Keep a few of its own figures."""
        server = self._server()
        reading = await asker.metrics(server) if server and self._ready else None
        if reading is not None:
            await self._hand.db.run(hosting.measured, self._id, self._hand.speaker, reading.figures(self._read))
            self._read = reading

    async def _tell(self) -> None:
        """Let the row know whether it is well, where that has changed."""
        ok = self._pulse.healthy and self._hung is None
        if ok is bool(self._deployment.health_ok):
            return
        beat = Beat(ok, None if ok else self._hung or self._pulse.reason)
        grace = timedelta(seconds=self._hand.settings.deployment_grace_seconds)
        self._deployment = await self._hand.db.run(hosting.felt, self._id, self._hand.speaker, beat, grace=grace)

    async def _condemn(self, who: FailureClass, reason: str) -> None:
        if self._deployment.condemned is None:
            failure = Failure(failure_class=who, reason=reason)
            doomed = await self._hand.db.run(hosting.condemned, self._id, self._hand.speaker, failure, grace=CONDEMNED_GRACE)
            self._deployment = doomed

    def _server(self) -> Server | None:
        deployment = self._deployment
        if deployment.port is None or deployment.address is None or deployment.status is DeploymentStatus.stopping or deployment.condemned:
            return None
        key = None if is_loopback(deployment.address) else self._key()
        return Server(address=deployment.address, port=deployment.port, key=key)


def _located(root: Path, model: str) -> str:
    """Return where a model lies on this host, or its name on the Hub."""
    return str(root / model) if not model.startswith("/") and (root / model).exists() else model


def _adapter_config(folder: Path) -> AdapterConfig | None:
    """Read what an adapter says of itself; None when it is none."""
    try:
        with (folder / ADAPTER).open("rb") as file:
            return msgspec.json.decode(file.read(LARGEST_CONFIG), type=AdapterConfig)
    except OSError:
        return None
    except msgspec.MsgspecError as wrong:
        raise BadInput(f"{folder / ADAPTER} cannot be read: {wrong}") from None
