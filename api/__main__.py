"""`python -m api`: the API server on the address and port of the settings."""

import logging
import sys

import uvicorn

from api.app import create_app
from api.security import require_safe_binding
from infra.logs import set_up
from infra.settings import SettingsError, load, shown

log = logging.getLogger("tuneyard.api")

PATIENCE_SECONDS = 5
"""A client that has stopped reading its download holds the server no longer than this when it stops."""


def main() -> int:
    """Serve until told to stop; a setting that cannot work ends the start with one readable line."""
    set_up()
    try:
        settings = load()
        require_safe_binding(settings)
        for line in shown(settings):
            log.info("setting %s", line)
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(settings),
                host=settings.bind,
                port=settings.port,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=PATIENCE_SECONDS,
            )
        )
        server.run()
    except SettingsError as wrong:
        log.error("%s", wrong)  # noqa: TRY400 - one readable line, no traceback
        return 2
    return 0 if server.started else 1


sys.exit(main())
