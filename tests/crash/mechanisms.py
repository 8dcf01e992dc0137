"""What keeps each cell of the fault matrix: the mechanisms of the house by name, and what the source is like without each of them.

Whoever moves a mechanism says here where it went; a test sees to it that every text stands where this file says.
"""

from typing import NamedTuple


class Edit(NamedTuple):
    """In this file, every `old` becomes `new`."""

    file: str
    old: str
    new: str


CHANGED = '__import__("msgspec").structs.replace'
NO_GUARD = Edit(
    "domain/runs/hosting.py",
    "if (process.attempt, process.log_offset, process.report_offset) != (words.attempt, words.first_byte, words.report_begin):",
    "if process.attempt != words.attempt:",
)

MECHANISMS: dict[str, tuple[Edit, ...]] = {
    "the deed and its answer are one transaction": (
        Edit(
            "api/once.py",
            "        answer, replayed = await self._db.run(actions.once, self._request, act, render, status)",
            "        done = await self._db.run(act)\n"
            "        answer, replayed = await self._db.run(actions.once, self._request, lambda _: done, render, status)",
        ),
    ),
    "keys are heeded": (Edit("api/once.py", "if idempotency_key is None:", "if True:"),),
    "the client repeats its key": (
        Edit(
            "tuneyard/connection.py",
            'self.call("POST", path, headers=key, ',
            'self.call("POST", path, headers={"Idempotency-Key": str(uuid4())}, ',
        ),
    ),
    "a start that was taken is still on hand": (
        Edit(
            "infra/db/processes.py", "for phase in (Phase.placed, Phase.starting, Phase.alive)", "for phase in (Phase.placed, Phase.alive)"
        ),
    ),
    "a start is claimed once": (
        Edit("workers/life.py", "        while not (await executor.look(self._directory)).started:\n", "        for _ in range(1):\n"),
        Edit("infra/executors/local.py", "if rundir.was_started(directory):\n            return", "if False:\n            return"),
        Edit(
            "infra/executors/shim.py",
            'while not os.path.exists("started") and time.monotonic() < give_up:',
            "while time.monotonic() < give_up + 60:",
        ),
        Edit("infra/executors/shim.py", '    if os.path.exists("started"):\n        return False\n', ""),
        Edit("infra/executors/shim.py", "os.O_WRONLY | os.O_CREAT | os.O_EXCL", "os.O_WRONLY | os.O_CREAT"),
    ),
    "a start is tried until it is made": (
        Edit("workers/life.py", "        while not (await executor.look(self._directory)).started:\n", "        for _ in range(1):\n"),
    ),
    "the log goes on at the stored offset": (
        NO_GUARD,
        Edit("workers/life.py", "        self._process = process\n", f"        self._process = {CHANGED}(process, log_offset=0)\n"),
    ),
    "lines and their offset are one transaction": (
        Edit("domain/processes/actions.py", "if not tx.processes.advance(process, to=end_byte, report_to=report_end):", "if False:"),
        Edit(
            "workers/runs.py",
            "        process = await self._hand.db.run(hosting.said, process.id, self._hand.speaker, said)\n",
            "        before = process\n"
            "        process = await self._hand.db.run(hosting.said, process.id, self._hand.speaker, said)\n"
            "        await self._hand.db.run(lambda tx: tx.processes.advance(before, to=said.end_byte, report_to=said.report_end))\n",
        ),
    ),
    "what was not stored is read again": (
        NO_GUARD,
        Edit(
            "workers/life.py",
            "        before = self._process\n",
            f"        before = self._process\n        self._process = {CHANGED}(before, log_offset=before.log_offset + len(output))\n",
        ),
    ),
    "what it is behind with is read, not skipped": (
        NO_GUARD,
        Edit(
            "workers/life.py",
            "        output = await executor.read(",
            "        newest = (await executor.look(self._directory)).log_size - 4096\n"
            f"        self._process = {CHANGED}(self._process, log_offset=max(self._process.log_offset, newest))\n"
            "        output = await executor.read(",
        ),
    ),
    "the last line needs no newline": (Edit("workers/life.py", "final=final and len(output) < READ_BYTES", "final=False"),),
    "an end is settled once": (
        Edit(
            "infra/db/postgresql.py",
            "            except DBAPIError as problem:\n                if _state(problem) not in _REPLAY:\n                    raise\n",
            "            except (DBAPIError, Unavailable):\n                await asyncio.sleep(0.1)\n",
        ),
        Edit(
            "domain/runs/hosting.py",
            "if process.phase is Phase.over or process.attempt != ending.attempt:",
            "if process.attempt != ending.attempt:",
        ),
        Edit("domain/runs/run.py", "if status not in NEXT[self.status]:", "if status not in NEXT:"),
        Edit("domain/processes/process.py", "if phase not in NEXT[self.phase]:", "if phase not in NEXT:"),
    ),
    "a dead worker's lease is taken over at once": (Edit("workers/host.py", "yield True", "yield False"),),
    "a living worker keeps its host": (Edit("domain/hosts/actions.py", "if not asked.sole:", "if False:"),),
    "a lease that has run out may be taken over": (Edit("domain/hosts/actions.py", "if known and known[1]:", "if known:"),),
    "every write of a worker holds the lease": (
        Edit(
            "infra/db/hosts.py",
            'self.connection.scalar(_HELD, {"name": name}) != lease:',
            'self.connection.scalar(_HELD, {"name": name}) is None:',
        ),
    ),
    "a beat is for one lease only": (Edit("infra/db/hosts.py", "_C.id == name, _C.lease == lease", "_C.id == name"),),
    "the grace began when the command was first asked": (
        Edit("workers/stop.py", 'max(time.time() - os.stat(f"{self._directory}/stop").st_mtime, 0.0)', "0.0"),
    ),
    "after the grace comes the kill": (
        Edit("workers/stop.py", "if process.stop_kill and passed >= end_of_grace + LAST_WORD_SECONDS:", "if passed < 0:"),
    ),
    "a stop needs no file": (
        Edit("infra/executors/rundir.py", "with suppress(OSError):", "with suppress(ValueError):"),
        Edit("workers/stop.py", "except OSError as problem:", "except UnicodeError as problem:"),
    ),
    "pressing to stop waits for nothing else": (
        Edit("workers/life.py", "watching = (self._press(executor), ", "watching = ("),
        Edit(
            "workers/life.py",
            "                if over and not spoke:",
            "                if not spoke and self._process.stop_asked_at is not None:\n"
            "                    self._left = await self._stop.press(executor, self._process)\n"
            "                if over and not spoke:",
        ),
    ),
    "a wish to stop is heard while it speaks": (
        Edit("workers/supervisor.py", "self._nudges[process_id].set()", "pass"),
        Edit(
            "workers/runs.py",
            "        process = await self._hand.db.run(hosting.said, process.id, self._hand.speaker, said)\n",
            "        process = await self._hand.db.run(hosting.said, process.id, self._hand.speaker, said)\n"
            "        process = msgspec.structs.replace(process, stop_asked_at=None)\n",
        ),
    ),
    "a mark finds who fled": (
        Edit("infra/executors/tree.py", "process.session == session or _carries(process.pid, marker)", "process.session == session"),
    ),
    "a pid alone is nobody": (Edit("infra/executors/tree.py", "process.start_ticks == who.start_ticks and not", "not"),),
    "boot ids are compared": (Edit("infra/executors/tree.py", "return who.boot_id != _boot_id()", "return False"),),
    "a GPU is free once its holder is verified dead": (
        Edit("workers/life.py", "self._left = await executor.kill(self._directory)", "self._left = []"),
    ),
    "what cannot be killed keeps its GPU": (
        Edit("domain/processes/actions.py", "    if left:\n        tx.gpus.set_aside", "    if False:\n        tx.gpus.set_aside"),
    ),
    "the command inherits the lock": (
        Edit("infra/executors/shim.py", "os.set_inheritable(lock, True)", "os.set_inheritable(lock, False)"),
    ),
    "an unknown end is no success": (
        Edit("domain/runs/ending.py", "if self.exit is not None and self.exit.code == 0:", "if self.exit is None or self.exit.code == 0:"),
    ),
    "room for the exit": (Edit("infra/executors/shim.py", "RESERVED = 4096", "RESERVED = 0"),),
    "the engine is asked what became of the container": (
        Edit("infra/executors/docker.py", "return death(home, last, began=sight.started_at or 0.0)", "return None"),
    ),
    "the counter of kills for memory is read": (
        Edit("infra/executors/rundir.py", "if before is None or after is None or after <= before:", "if before != -1:"),
    ),
    "life and output are read from files": (
        Edit(
            "infra/executors/docker.py",
            "    async def signal(self, ",
            "    async def look(self, directory):\n"
            "        async with Engine(self._address) as engine:\n"
            "            await engine.container(self._home(directory).id)\n"
            "        return await super().look(directory)\n"
            "\n"
            "    async def signal(self, ",
        ),
    ),
    "signals need no engine": (Edit("infra/executors/docker.py", "if await asyncio.to_thread(tree.is_shown, who):", "if False:"),),
    "a sweep looks at what is on hand": (Edit("workers/supervisor.py", "self.look(process.id)", "continue"),),
    "a look at a living process reads its row again": (Edit("workers/supervisor.py", "self._nudges[process_id].set()", "pass"),),
    "a worker outlives its database": (
        Edit("workers/supervisor.py", 'log.warning("sweep: %s", problem.detail)', "raise SystemExit(1) from problem"),
    ),
    "a connection that gave no answer is not used again": (Edit("infra/db/postgresql.py", "_hang_up(pooled)  # ", "pass  # "),),
    "silence is no death": (
        Edit(
            "infra/db/processes.py",
            "_UNTAKEN = fixed(_ALL.where(_C.phase == Phase.placed)",
            "_UNTAKEN = fixed(_ALL.where(or_(*(_C.phase == each for each in (Phase.placed, Phase.starting, Phase.alive))))",
        ),
        Edit(
            "domain/processes/actions.py",
            "tx.processes.save(process.to(Phase.waiting, tx.now, host=None, gpus=[]))",
            "tx.processes.save_again(process.again(tx.now, after=timedelta(0), folder=None))",
        ),
    ),
    "long lines are cut": (
        Edit("domain/runs/terminal.py", "if len(part) <= limit:\n        return [part]", "if part or limit:\n        return [part]"),
    ),
    "bad bytes are replaced, not dropped": (
        Edit("api/logs.py", 'line.text.decode("utf-8", "replace")', 'line.text.decode("utf-8", "ignore")'),
    ),
}
