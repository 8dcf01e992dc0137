"""A toy standing in for a trainer that cannot stop talking: 100,000 numbered lines a second, for ever."""

import os
import time

AT_ONCE = 1_000
RATE = 100_000
"""Lines a second, as long as the machine keeps up."""


def main() -> None:
    """Talk."""
    began, said = time.monotonic(), 0
    while True:
        os.write(1, b"".join(b"F %d\n" % number for number in range(said, said + AT_ONCE)))
        said += AT_ONCE
        time.sleep(max(0.0, began + said / RATE - time.monotonic()))


if __name__ == "__main__":
    main()
