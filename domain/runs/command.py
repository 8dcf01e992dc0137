"""The start command: a template from the settings with the run's own config in the place of `<training_yaml>`."""

import shlex

from domain.ids import RunId
from domain.runs.run import folder_of

DEFAULT = "bash run_train_full_sft.sh <training_yaml>"
"""The documents' command."""
PLACEHOLDER = "<training_yaml>"


def config_path(run_id: RunId) -> str:
    """Where a run's frozen config lies, below the training directory."""
    return f"{folder_of(run_id)}/config.yaml"


def start_argv(template: str, run_id: RunId) -> list[str]:
    """Split the template as a shell splits words, then put the config's path in: no shell ever reads it."""
    return [word.replace(PLACEHOLDER, config_path(run_id)) for word in shlex.split(template)]


def on_host(argv: list[str], run_id: RunId, root: str) -> list[str]:
    """Return the command as the host runs it: the config by its absolute path below the training directory `root`."""
    path = config_path(run_id)
    return [word.replace(path, f"{root}/{path}") for word in argv]
