"""A toy standing in for a trainer that scatters: it ignores TERM, a daemon fled by two forks and closed all, a dead child lies unburied."""

import os
import signal
import subprocess
import sys
import time


def main() -> None:
    """Scatter, and live for ever."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.chdir("/")
            say()
            os.closerange(0, 256)
            live()
        os._exit(0)
    os.wait()
    subprocess.Popen([sys.executable, "-S", "-c", "pass"])
    say()
    live()


def say() -> None:
    """Say who lives."""
    os.write(1, b"pid %d\n" % os.getpid())


def live() -> None:
    """Live for ever."""
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
