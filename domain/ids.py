"""Ids say what they name and sort by when they were made.

A short prefix, 48 bits of milliseconds and 80 random bits, in lower-case Crockford base 32: `run_01k9q3…` (26 characters).
"""

import re
import secrets
import time
import uuid
from typing import NewType

ProjectId = NewType("ProjectId", str)
RunId = NewType("RunId", str)
ArtifactId = NewType("ArtifactId", str)
ProcessId = NewType("ProcessId", str)
HostName = NewType("HostName", str)
DatasetId = NewType("DatasetId", str)
UploadId = NewType("UploadId", str)
TransferId = NewType("TransferId", str)
ConfigId = NewType("ConfigId", str)
DeploymentId = NewType("DeploymentId", str)
JobId = NewType("JobId", str)

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_CHARACTERS = 26
_RANDOM_BITS = 80
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
PREFIXES = ("proj_", "run_", "ckpt_", "art_", "proc_", "cfg_", "job_")


def new_id(prefix: str) -> str:
    """Return a fresh id such as `run_01k9q3c8…`; two made in the same millisecond sort at random."""
    number = (time.time_ns() // 1_000_000 << _RANDOM_BITS) | secrets.randbits(_RANDOM_BITS)
    return prefix + "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(_CHARACTERS)))


def new_uuid() -> str:
    """Return a random UUID, the documented form for datasets, uploads and deployments."""
    return str(uuid.uuid4())


def looks_like_uuid(text: str) -> bool:
    """Whether a name could be mistaken for the id of a dataset."""
    return bool(_UUID.fullmatch(text))


def looks_like_id(text: str) -> bool:
    """Whether a name could be mistaken for an id of ours."""
    return text.startswith(PREFIXES)
