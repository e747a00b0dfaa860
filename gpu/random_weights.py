"""A bundle without its weights, and random ones in their place: gigabytes that need not travel.

What a speed test or a comparison on the same weights needs of a trained model are its shapes and
how large its numbers are. `strip` keeps, of every safetensors file, the header and each tensor's
mean and standard deviation; `fill` draws normal numbers of those, the same on every machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from fgdm.file_tree import Folder
from fgdm.manifest import MANIFEST, MANIFEST_HASH
from numpy.typing import NDArray

#: Beside the place of each stripped file.
SUFFIX = ".header.json"
_DTYPES: dict[str, np.dtype[np.floating[Any]]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}
_LENGTH = struct.Struct("<Q")


def strip(bundle: Path, target: Path) -> None:
    """Copies a bundle to the new folder `target`, its safetensors files as descriptions only."""
    for path in sorted(bundle.rglob("*")):
        copy = target / path.relative_to(bundle)
        if path.is_dir():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            described = json.dumps(_describe(path))
            copy.with_name(copy.name + SUFFIX).write_text(described, encoding="utf-8")
        else:
            shutil.copyfile(path, copy)


def fill(folder: Path, workers: int) -> None:
    """Makes a bundle of a stripped one, in place: weights, and the manifest's hashes of them.

    A bundle that isn't stripped stays as it is; one that was interrupted here is finished.
    """
    described = sorted(folder.rglob(f"*{SUFFIX}"))
    if not described:
        return
    for path in described:
        _write(
            path.with_name(path.name.removesuffix(SUFFIX)), json.loads(path.read_text()), workers
        )
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    for name, entry in manifest["files"].items():
        if name.endswith(".safetensors"):
            entry["sha256"] = Folder(folder).sha256(name)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    digest = Folder(folder).sha256(MANIFEST)
    (folder / MANIFEST_HASH).write_text(f"{digest}  {MANIFEST}\n", encoding="utf-8")
    for path in described:
        path.unlink()


def _describe(path: Path) -> dict[str, Any]:
    """A safetensors file's header, and (mean, deviation) of every tensor in it."""
    data = np.memmap(path, np.uint8, "r")
    (length,) = _LENGTH.unpack(data[: _LENGTH.size].tobytes())
    start = _LENGTH.size + length
    header = data[_LENGTH.size : start].tobytes().decode()
    statistics: dict[str, tuple[float, float]] = {}
    for name, entry in json.loads(header).items():
        if name != "__metadata__":
            begin, end = (start + offset for offset in entry["data_offsets"])
            tensor = data[begin:end].view(_DTYPES[entry["dtype"]])
            statistics[name] = (
                float(tensor.mean(dtype=np.float64)),
                float(tensor.std(dtype=np.float64)),
            )
    return {"header": header, "statistics": statistics}


def _write(path: Path, described: dict[str, Any], workers: int) -> None:
    header = str(described["header"]).encode()
    entries = {n: e for n, e in json.loads(header).items() if n != "__metadata__"}
    start = _LENGTH.size + len(header)
    size = start + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    data = np.memmap(path, np.uint8, "w+", shape=(size,))
    data[:start] = np.frombuffer(_LENGTH.pack(len(header)) + header, np.uint8)

    def draw(name: str) -> None:
        entry, (mean, deviation) = entries[name], described["statistics"][name]
        begin, end = (start + offset for offset in entry["data_offsets"])
        tensor: NDArray[Any] = data[begin:end].view(_DTYPES[entry["dtype"]])
        # The file's and the tensor's names are the seed: files differ, and the order is free.
        seed = hashlib.sha256(f"{path.parent.name}/{name}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(seed, "little"))
        for at in range(0, len(tensor), 1 << 20):
            part = tensor[at : at + (1 << 20)]
            part[:] = mean + deviation * rng.standard_normal(len(part), np.float32)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(draw, entries))
    data.flush()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path, help="a stripped bundle; a whole one stays as it is")
    given = parser.parse_args(arguments)
    fill(given.bundle, os.cpu_count() or 1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
