"""Our own log: one line per happening on standard error, times in UTC."""

import logging
import sys
import time


def set_up() -> None:
    """Log to standard error; the libraries only when something is wrong."""
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("arq", "alembic", "litestar", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)
