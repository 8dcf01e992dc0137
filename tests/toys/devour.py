"""A toy standing in for a trainer that needs more memory than it is given; with `--by-child` a child of it does, and it exits with 1."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

MOST = 256
"""MiB after which it gives up, so that without a limit it harms nobody."""


def main() -> None:
    """Take one MiB after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--by-child", action="store_true")
    parser.add_argument("--tell", action="store_true", help="say of the child what torchrun would")
    parser.add_argument("--until", help="begin when this file exists")
    asked = parser.parse_args()
    while asked.until and not Path(asked.until).exists():
        time.sleep(0.005)
    if not asked.by_child:
        sys.exit(len([bytearray(b"x" * 1024 * 1024) for _ in range(MOST)]))
    child = subprocess.Popen([sys.executable, "-S", __file__])
    child.wait()
    if asked.tell:
        sys.stderr.write(f"Signal {-child.returncode} (SIGKILL) received by PID {child.pid}\n")
    sys.exit(1)


if __name__ == "__main__":
    main()
