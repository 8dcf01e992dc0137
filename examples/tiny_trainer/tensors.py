"""The safetensors format: an 8-byte length, a JSON header that says where each tensor lies, then the bytes of the tensors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from network import Weights


def write_tensors(path: Path, tensors: Weights) -> None:
    """Write float32 tensors as any safetensors reader expects them."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": [offset, offset + tensor.nbytes]}
        offset += tensor.nbytes
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    data = b"".join(np.ascontiguousarray(tensor, "<f4").tobytes() for tensor in tensors.values())
    path.write_bytes(len(head).to_bytes(8, "little") + head + data)


def read_tensors(path: Path) -> Weights:
    """The float32 tensors of a file; ValueError if its bytes do not add up."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    tensors: Weights = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            tensors[name] = np.frombuffer(content[start + begin : start + end], "<f4").reshape(entry["shape"]).copy()
    return tensors
