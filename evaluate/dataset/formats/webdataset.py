"""WebDataset: tar files whose members of one name belong to one sample."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from ..sample import file_name
from .shards import Sample, write_shards


def write_webdataset(folder: Path) -> list[Path]:
    """webdataset/samples-000000.tar and so on: 00000012.image.png, 00000012.FACTOR.png, .json and
    .txt, which is the prompt. Equal samples make equal bytes."""
    return write_shards(folder, folder / "webdataset", "samples-{number:06}.tar", _write)


def _write(path: Path, samples: list[Sample]) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            members = {
                # WebDataset's keys end at the first dot of a name.
                **{file_name(name.replace(".", "_")): v for name, v in sample.pictures.items()},
                "json": sample.text.encode("ascii"),
                "txt": sample.record["prompt"].encode("utf-8"),
            }
            for name, content in members.items():
                entry = tarfile.TarInfo(f"{sample.index:08}.{name}")
                entry.size, entry.mode = len(content), 0o644
                tar.addfile(entry, io.BytesIO(content))
