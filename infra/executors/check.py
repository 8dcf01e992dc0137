"""Says beforehand, in words, what would keep a command from running where this file runs: on this host, or inside a container.

`python -I -S -c SOURCE DIRECTORY` checks what DIRECTORY/spec.json asks for, then becomes the shim that lies beside it;
it needs nothing but itself and any Python from 3.6 on.
"""

import json
import os
import shutil
import sys

NOT_THERE = 66
"""Exit code: the run directory is not here (EX_NOINPUT of sysexits.h)."""
NOT_ALLOWED = 77
"""Exit code: this user may not enter the run directory (EX_NOPERM)."""
SHELLS = {"bash", "sh", "dash", "zsh"}


def objection(argv: "list[str]", env: "dict[str, str]", cwd: str) -> "str | None":
    """What would keep this command from running here; None when nothing is known."""
    if not argv:
        return "the start command is empty"
    if any("\0" in word for words in (argv, env, env.values()) for word in words):
        return "a command and its environment cannot contain NUL characters"
    if not os.path.isdir(cwd):
        return f"the working directory {cwd} does not exist; create it, or set another one"
    name = argv[0]
    found = os.path.join(cwd, name) if "/" in name else shutil.which(name, path=env.get("PATH"))
    if found is None:
        return f"{name}: no such command on the PATH"
    if not os.access(found, os.X_OK):
        return f"{name} is not executable" if os.path.exists(found) else f"{name}: no such file in {cwd}"
    return _script(argv, cwd)


def _script(argv: "list[str]", cwd: str) -> "str | None":
    """`bash SCRIPT` without the script is the commonest wrong setting of all."""
    if os.path.basename(argv[0]) not in SHELLS or len(argv) == 1 or argv[1].startswith("-"):
        return None
    folder, script = os.path.split(os.path.join(cwd, argv[1]))
    if os.path.isfile(f"{folder}/{script}"):
        return None
    return f"{script} is not in {folder}; put it there, or set another working directory or start command"


def main(directory: str) -> int:
    """Say on stderr why not, or become the shim."""
    try:
        with open(f"{directory}/spec.json", "rb") as file:
            spec = json.loads(file.read().decode("utf-8"))
    except PermissionError:
        return NOT_ALLOWED
    except OSError:
        return NOT_THERE
    reason = objection(spec["argv"], spec["env"], spec["cwd"])
    if reason:
        os.write(2, reason.encode("utf-8", "backslashreplace"))
        return 1
    return os.execv(sys.executable, [sys.executable, "-I", "-S", f"{directory}/shim.py", directory])  # noqa: S606 - that is the point


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
