"""Bundles whose weights aren't numbers, so that what an engine's failure comes to can be seen."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
from safetensors import safe_open


def spoil(bundle: Path, copy: Path, file: str, tensor: str, value: float) -> Path:
    """A copy of a bundle in which a tensor begins with `value`, hashes corrected.

    The tensor is overwritten where it lies, since graphs find their weights by offsets.
    """
    shutil.copytree(bundle, copy)
    content = bytearray((copy / file).read_bytes())
    length = int.from_bytes(content[:8], "little")
    start = 8 + length + json.loads(content[8 : 8 + length])[tensor]["data_offsets"][0]
    content[start : start + 2] = np.float16(value).tobytes()
    (copy / file).write_bytes(content)
    with safe_open(copy / file, "np") as tensors:  # it is the tensor, and it is float16
        read = tensors.get_tensor(tensor)
        assert read.dtype == np.float16
        np.testing.assert_array_equal(read.flat[0], np.float16(value))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"][file]["sha256"] = hashlib.sha256(content).hexdigest()
    text = json.dumps(manifest)
    (copy / "manifest.json").write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    (copy / "manifest.sha256").write_text(f"{digest}  manifest.json\n")
    return copy
