"""A toy standing in for a trainer that scatters: it ignores TERM, a daemon of it fled by two forks, and it buries no dead child."""

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
            os.closerange(3, 256)
            live()
        os._exit(0)
    os.wait()
    subprocess.Popen([sys.executable, "-S", "-c", "pass"])
    live()


def live() -> None:
    """Say who lives, for ever."""
    os.write(1, b"pid %d\n" % os.getpid())
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
