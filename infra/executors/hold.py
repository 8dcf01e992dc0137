"""The main process of a container made for one attempt: it lasts as long as anything of that attempt lives, and no longer.

`python -I -S -c SOURCE DIRECTORY` needs nothing but itself and any Python from 3.6 on.
"""

import fcntl
import os
import sys
import time

PATIENCE = 60.0
"""Seconds to wait for the launch, which follows at once. A worker that died before it starts the container again when it is back."""


def main(directory: str) -> int:
    """Wait for the attempt to begin, then for the end of whoever holds its lock."""
    give_up = time.monotonic() + PATIENCE
    while not os.path.exists(f"{directory}/started"):  # noqa: PTH110 - nothing is imported that is not needed
        if time.monotonic() > give_up:
            return 1
        time.sleep(0.02)
    fcntl.flock(os.open(f"{directory}/lock", os.O_RDONLY), fcntl.LOCK_SH)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
