"""One folder as numbered pieces of a limited size, and the folder again from them."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import lzma
import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

INDEX = "pieces.json"


def split(folder: Path, target: Path, piece_bytes: int) -> list[Path]:
    """Packs `folder` into target/piece-00, piece-01, …, none larger than `piece_bytes`.

    The index beside them holds sizes and hashes. Earlier pieces there are replaced.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz", preset=6) as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name)
    data = packed.getbuffer()
    pieces = []
    index = {}
    for number, at in enumerate(range(0, len(data), piece_bytes)):
        piece = target / f"piece-{number:02}"
        piece.write_bytes(data[at : at + piece_bytes])
        digest = hashlib.sha256(data[at : at + piece_bytes]).hexdigest()
        index[piece.name] = {"bytes": piece.stat().st_size, "sha256": digest}
        pieces.append(piece)
    (target / INDEX).write_text(json.dumps(index, indent=1) + "\n")
    return pieces


def missing(source: Path) -> list[str]:
    """Pieces of the index that aren't there, or aren't what was packed."""
    index = json.loads((source / INDEX).read_text())
    return [name for name, entry in index.items() if not _is_whole(source / name, entry["sha256"])]


def join(source: Path, folder: Path) -> None:
    """Unpacks the pieces into `folder`, which appears when it is complete.

    Raises ValueError that names the pieces which are missing or damaged.
    """
    lacking = missing(source)
    if lacking:
        raise ValueError(
            f"{', '.join(lacking)} of {source} missing or damaged; copy them there, and their index"
        )
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    data = b"".join(_contents(source))
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(data))) as archive:
        archive.extractall(partial, filter="data")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _contents(source: Path) -> Iterator[bytes]:
    for name in sorted(json.loads((source / INDEX).read_text())):
        yield (source / name).read_bytes()


def _is_whole(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pieces", type=Path, help="folder of the pieces and their index")
    parser.add_argument("folder", type=Path, help="where to unpack them")
    given = parser.parse_args(arguments)
    try:
        join(given.pieces, given.folder)
    except (OSError, ValueError) as error:
        print(f"gpu.pieces: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
