"""`tuneyard deployments` against a real house, with a toy in the place of vLLM."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.house import PATIENCE, REPOSITORY, House, free_port, inherited


def test_a_model_is_deployed_listed_and_removed_at_the_command_line(
    make_house: Callable[..., House], sqlite_url: str, redis_url: str, tmp_path: Path
) -> None:
    first = free_port()
    serve = f"{sys.executable} {REPOSITORY}/tests/toys/serve.py"
    house = make_house(sqlite_url, redis_url, TUNEYARD_SERVE_COMMAND=serve, TUNEYARD_DEPLOYMENT_PORTS=f"{first}-{min(first + 9, 65535)}")

    def tuneyard(*words: str) -> subprocess.CompletedProcess[str]:
        environment = inherited() | {"TUNEYARD_URL": house.url, "LANG": "C.UTF-8", "COLUMNS": "200", "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-m", "tuneyard", *words]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)

    created = tuneyard("--json", "deployments", "create", "/models/qwen", "--name", "qwen", "--tag", "demo", "--wait", "20")
    assert 0 == created.returncode, created.stderr
    deployment = json.loads(created.stdout)
    assert ("running", ["qwen"], ["demo"]) == (deployment["status"], deployment["served_names"], deployment["tags"])

    listed = tuneyard("deployments", "list", "--tag", "demo").stdout
    assert deployment["deployment_id"] in listed
    assert "✓" in listed
    assert "--served-model-name qwen" in tuneyard("deployments", "get", deployment["deployment_id"]).stdout
    assert "Application startup complete" in tuneyard("deployments", "logs", deployment["deployment_id"]).stdout

    removed = tuneyard("deployments", "remove", deployment["deployment_id"], "--force")
    assert (0, True) == (removed.returncode, "deployment removed" in removed.stdout + removed.stderr)
    assert deployment["deployment_id"] not in tuneyard("deployments", "list").stdout
    refused = tuneyard("deployments", "create", "/m", "--args=--host 0.0.0.0")
    assert (2, True) == (refused.returncode, "--host" in refused.stdout + refused.stderr)
