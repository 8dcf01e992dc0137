"""Places where a test lets a process die as by a power cut: TUNEYARD_FAILPOINT names one; without it they cost one comparison.

Every action has two: `uncommitted.<action>` when all is written and nothing kept, `committed.<action>` before anybody hears of it.
"""

import os

EXIT_CODE = 137
_ARMED = os.environ.get("TUNEYARD_FAILPOINT")


def failpoint(kind: str, name: object) -> None:
    """Die here at once if this is the place; `name` may be an action."""
    if _ARMED is not None:
        name = getattr(name, "func", name)  # of a partial
        if f"{kind}.{getattr(name, '__name__', name)}" == _ARMED:
            os._exit(EXIT_CODE)
