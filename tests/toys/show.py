"""A toy standing in for a trainer: it prints, as one line of JSON, how the world looked at its first instruction."""

import time

at = time.time()  # before anything else, so that the start of a command can be timed

import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402


def mask(name: str) -> int:
    """A set of signals, as the kernel shows it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0], 16)


NOT_OURS = sum(1 << number - 1 for number in (13, 25, 32, 33))
"""SIGPIPE and SIGXFSZ, which Python itself ignores, and the two of the C library, which its posix_spawn (make's) ignores in the child."""

seen = {
    "at": at,
    "argv": sys.argv[1:],
    "env": dict(os.environ),
    "cwd": os.getcwd(),  # noqa: PTH109 - a str for JSON
    "stdin": sys.stdin.read(),
    "leads": os.getpid() == os.getsid(0) == os.getpgid(0),
    "ignored": mask("SigIgn") & ~NOT_OURS,
    "blocked": mask("SigBlk"),
}
sys.stdout.write(json.dumps(seen) + "\n")
