"""`python -m workers`: the worker of this host."""

import asyncio
import logging
import sys

from domain.errors import DomainError
from infra.logs import set_up
from infra.settings import SettingsError, load, shown
from workers.host import work

log = logging.getLogger("tuneyard.worker")


def main() -> int:
    """Work until told to stop; what cannot work ends the start with one readable line."""
    set_up()
    try:
        settings = load()
        for line in shown(settings):
            log.info("setting %s", line)
        asyncio.run(work(settings))
    except SettingsError as wrong:
        log.error("%s", wrong)  # noqa: TRY400 - one readable line, no traceback
        return 2
    except DomainError as refused:
        log.error("%s", refused.detail)  # noqa: TRY400 - as above
        return 3
    return 0


sys.exit(main())
