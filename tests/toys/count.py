"""A toy standing in for a trainer: it prints lines `L <n> <sha8>` that anyone can check, and ends as it was told to."""

import argparse
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

MESS = b"\x00\x1b[31m\xff\xfe\xc3\x28 half a \xe4\xb8 character, no newline"
"""What terminals, binaries and broken encodings leave in logs."""


def line(number: int) -> bytes:
    """Line `number` of every counting toy."""
    digest = hashlib.sha256(str(number).encode()).hexdigest()[:8]
    return f"L {number} {digest}\n".encode()


def lines(count: int) -> bytes:
    """All that `--lines COUNT` prints."""
    return b"".join(map(line, range(count)))


def main() -> None:
    """Count, and say nothing else."""
    asked = _arguments()
    for _ in range(asked.children):
        subprocess.Popen([sys.executable, "-S", __file__, "--lines", "0", "--until", asked.until], close_fds=False)
    pause = 1 / asked.rate if asked.rate else 0
    for number in range(asked.lines):
        if asked.returns:
            _print(f"step {number}: 50%\rstep {number}: 100%\r".encode())
        _print(line(number))
        time.sleep(pause)
    if asked.mess:
        _print(MESS)
    while asked.until and not Path(asked.until).exists():
        time.sleep(0.005)
    sys.exit(asked.exit)


def _print(content: bytes) -> None:
    while content:
        content = content[os.write(1, content) :]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=10)
    parser.add_argument("--rate", type=float, default=0, help="lines per second; 0: as fast as it can")
    parser.add_argument("--exit", type=int, default=0, help="the exit code")
    parser.add_argument("--returns", action="store_true", help="a progress bar with lone carriage returns before each line")
    parser.add_argument("--mess", action="store_true", help="NUL, ANSI, bad UTF-8 and an unfinished line at the end")
    parser.add_argument("--until", default="", help="live on until this file exists")
    parser.add_argument("--children", type=int, default=0, help="children that inherit every open file and live as long")
    return parser.parse_args()


if __name__ == "__main__":
    main()
