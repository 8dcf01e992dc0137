"""A toy standing in for a trainer that fills its disk: it prints until nothing more fits, then exits with that error's number (28)."""

import os
import sys

try:
    while True:
        os.write(1, b"x" * 4095 + b"\n")
except OSError as full:
    sys.exit(full.errno)
