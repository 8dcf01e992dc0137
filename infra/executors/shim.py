"""Runs one command to its end and leaves the truth about it in a run directory, outliving whoever started it.

`python -I -S shim.py DIRECTORY` needs nothing but this file, `spec.json` and any Python from 3.6 on.
It answers 0 when the command is running, 75 when this attempt was already started, else 1 with a sentence on stderr.

Crash story. The lock is taken before `started` is claimed, so an attempt that was claimed and whose lock is free has ended.
The command inherits the lock: killing the shim neither ends the command nor frees the lock, and costs only the exit code.
Whoever dies before `started` is there has started nothing. `state.json` is there before the command's first instruction,
so whatever runs can be signalled.
"""

import fcntl
import json
import os
import signal
import sys
import time

ALREADY_STARTED = 75
"""Exit code: another launch of this attempt was first (EX_TEMPFAIL of sysexits.h); nothing is wrong."""
MARKER = "TUNEYARD_RUN_DIRECTORY"
"""In the environment of the command, never of this shim: what carries it belongs to the command's tree, in whichever session it hides."""

RESERVED = 4096
"""Bytes of exit.json written beforehand, so that a disk filled by the command cannot swallow its exit code."""
KILLED = "the shim was killed before the command began"
"""The reason when nothing was wrong with the command: another attempt is worth it."""
LONGEST_ERROR = 500
"""Characters of a reason; even when JSON escapes each of them it fits into what is reserved."""
PATIENCE = 1.0
"""Seconds to wait for another launch that holds the lock and has not claimed the attempt yet; it needs about a millisecond."""
COUNTERS = {"memory": ("/sys/fs/cgroup/memory", "memory.oom_control"), "": ("/sys/fs/cgroup", "memory.events")}
"""By the controllers that /proc/self/cgroup names: where control groups of version 1 and 2 are mounted, and the file that counts."""


class Refusal(Exception):
    """Why the command cannot run."""


class Spec:
    """What to run, as the executor wrote it."""

    def __init__(self, text: bytes) -> None:
        said = json.loads(text.decode("utf-8"))
        self.attempt = int(said["attempt"])
        self.argv = [word.encode("utf-8") for word in said["argv"]]
        self.env = {name.encode("utf-8"): value.encode("utf-8") for name, value in said["env"].items()}
        self.cwd = str(said["cwd"])


def main(directory: str) -> int:
    """Start the command of this run directory, once however often this is called, and answer when it runs."""
    try:
        os.chdir(directory)
        spec = read_spec()
        lock = take_lock()
        if lock is None or not claim():
            return ALREADY_STARTED
        return launch(spec, lock)
    except Refusal as refusal:
        return refuse(str(refusal))
    except OSError as error:
        return refuse(f"the run directory {directory} cannot be used: {error.strerror}")


def read_spec() -> Spec:
    """The attempt that this directory was prepared for."""
    try:
        with open("spec.json", "rb") as file:
            return Spec(file.read())
    except FileNotFoundError:
        raise Refusal("there is no spec.json in the run directory") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refusal(f"spec.json is damaged: {error!r}") from None


def take_lock() -> "int | None":
    """The lock, which everybody of this attempt will hold, or None when others of this attempt are before us."""
    lock = os.open("lock", os.O_RDWR | os.O_CREAT, 0o644)
    give_up = time.monotonic() + PATIENCE
    while not os.path.exists("started") and time.monotonic() < give_up:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.005)
        else:
            return lock
    return None


def claim() -> bool:
    """Make this launch the one start of the attempt; whether it is."""
    if os.path.exists("started"):
        return False
    if os.path.exists("stop"):
        raise Refusal("it was asked to stop before it began")
    write("exit.json.tmp", b" " * RESERVED)
    try:
        os.close(os.open("started", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    except FileExistsError:
        return False
    return True


def launch(spec: Spec, lock: int) -> int:
    """Leave a shim behind that runs the command, and hear from it: silence when the command was executed, else the reason."""
    try:
        write("started", json.dumps({"attempt": spec.attempt, "at": time.time()}).encode())
        ear, mouth = os.pipe()
        if os.fork() == 0:
            stand_apart()
            watch(spec, lock, mouth)
    except OSError as error:
        record_exit(spec, error=f"the shim cannot begin: {error.strerror}")
        raise
    os.close(mouth)
    with open(ear, "rb") as pipe:
        reason = pipe.read().decode("utf-8", "replace")
    if not reason and not os.path.exists("state.json"):
        reason = KILLED
        record_exit(spec, error=reason)
    return refuse(reason) if reason else 0


def refuse(reason: str) -> int:
    """Say why nothing runs."""
    os.write(2, reason.encode("utf-8", "backslashreplace"))
    return 1


def stand_apart() -> None:
    """Out of reach of the launcher's terminal, its pipes and its end: only SIGKILL ends the shim before its command."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def watch(spec: Spec, lock: int, mouth: int) -> None:
    """Run the command, wait for it, record its end; never returns."""
    try:
        shim = (os.getpid(), start_ticks())
        command = os.fork()
        if command == 0:
            become(spec, lock, mouth, shim)
        os.close(mouth)
        _, status = os.waitpid(command, 0)
        if os.WIFSIGNALED(status):
            record_exit(spec, number=os.WTERMSIG(status))
        elif not os.path.exists("exit.json"):  # it is there when the command could not be executed
            record_exit(spec, code=os.WEXITSTATUS(status))
    finally:
        os._exit(0)


def become(spec: Spec, lock: int, mouth: int, shim: "tuple[int, int]") -> None:
    """Turn this process into the command; if that fails, record and tell the reason. Never returns."""
    home = os.open(".", os.O_RDONLY)
    try:
        os.setsid()
        forget_signals()  # before anybody can know whom to signal
        record_state(spec, shim)
        output = os.open("out.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.set_inheritable(lock, True)  # noqa: FBT003 - its one argument
        execute(spec)
    except Exception as error:  # noqa: BLE001 - whatever it is, nothing of ours may go on as if it were the command
        reason = f"the run directory cannot be used: {error.strerror}" if isinstance(error, OSError) else str(error)
        os.fchdir(home)
        record_exit(spec, error=reason[:LONGEST_ERROR])
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        os.write(mouth, reason.encode("utf-8", "backslashreplace"))
    finally:
        os._exit(127)


def execute(spec: Spec) -> None:
    """The command, in its directory and environment; a Refusal in words when it cannot be executed."""
    name = spec.argv[0].decode("utf-8")
    env = dict(os.environb)
    env.setdefault(b"PYTHONUNBUFFERED", b"1")
    # setproctitle (vLLM, ray) would overwrite the environment that the kernel shows of a process, and the marker with it.
    env.setdefault(b"SPT_NOENV", b"1")
    env.update(spec.env)
    env[MARKER.encode()] = os.getcwdb()
    try:
        os.chdir(spec.cwd.encode("utf-8"))
    except OSError as error:
        raise Refusal(f"the working directory {spec.cwd} cannot be entered: {error.strerror}") from None
    try:
        os.execvpe(spec.argv[0], spec.argv, env)  # noqa: S606 - that is the point
    except FileNotFoundError:
        raise Refusal(f"{name}: no such command, or its interpreter is missing") from None
    except PermissionError:
        raise Refusal(f"{name} is not executable") from None
    except (OSError, ValueError) as error:
        raise Refusal(f"{name} cannot be executed: {error}") from None


def forget_signals() -> None:
    """What we or our parents ignore or block is nothing to the command."""
    for number in range(1, signal.NSIG):
        try:
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):
            continue  # SIGKILL, SIGSTOP and the two that belong to the C library
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def record_state(spec: Spec, shim: "tuple[int, int]") -> None:
    """Who the command is, as its own pid namespace counts. Its pid is also the id of its session and of its process group."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        boot_id = file.read().strip()
    state = {
        "attempt": spec.attempt,
        "pid": os.getpid(),
        "start_ticks": start_ticks(),
        "boot_id": boot_id,
        "shim_pid": shim[0],
        "shim_start_ticks": shim[1],
        "pid_namespace": os.readlink("/proc/self/ns/pid"),
        "marker": f"{MARKER}={os.getcwd()}",
        "started_at": time.time(),
        "oom_kills": oom_kills(),
    }
    write("state.json.tmp", json.dumps(state).encode())
    os.rename("state.json.tmp", "state.json")


def record_exit(spec: Spec, code: "int | None" = None, number: "int | None" = None, error: "str | None" = None) -> None:
    """The end of the attempt, durable before it can be seen."""
    end = {"attempt": spec.attempt, "code": code, "signal": number, "error": error, "ended_at": time.time(), "oom_kills": oom_kills()}
    write("exit.json.tmp", json.dumps(end).encode(), durably=True)
    os.rename("exit.json.tmp", "exit.json")
    here = os.open(".", os.O_RDONLY)
    os.fsync(here)
    os.close(here)


def start_ticks() -> int:
    """When this process began, in clock ticks since the boot: with its pid, its identity."""
    with open("/proc/self/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])  # field 22 of proc(5), counted after the name


def oom_kills() -> "int | None":
    """How many processes of our control group the kernel has killed because memory ran out; None where it does not tell."""
    try:
        with open("/proc/self/cgroup") as file:
            groups = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return None
    for _, controllers, path in groups:
        root, name = COUNTERS.get(controllers, (None, None))
        # In a container the path may be the host's, and the mount the container's own group.
        for folder in (f"{root}{path}", root):
            try:
                with open(f"{folder}/{name}") as file:
                    return int(dict(line.split() for line in file)["oom_kill"])
            except (OSError, ValueError, KeyError):
                continue
    return None


def write(name: str, content: bytes, *, durably: bool = False) -> None:
    """The whole file, over what is there: blocks that it already has are used again, which a full disk needs."""
    handle = os.open(name, os.O_WRONLY | os.O_CREAT, 0o644)
    with open(handle, "wb") as file:
        file.write(content)
        file.truncate()
        file.flush()
        if durably:
            os.fsync(handle)


if __name__ == "__main__":
    os._exit(main(sys.argv[1]))
