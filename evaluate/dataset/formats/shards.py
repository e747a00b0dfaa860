"""Files of so many samples each, replaced together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from fgdm.files import is_temporary, temporary_beside

from ..store import RECORD, SAMPLES, read_samples

#: Samples of one shard: of pictures of 512 x 512 about half a gigabyte.
SHARD = 1000


@dataclass(frozen=True)
class Sample:
    """A sample as it lies in its folder: the record as text, and its PNG files by picture."""

    index: int
    record: dict[str, Any]
    text: str
    pictures: dict[str, bytes]


def count_samples(folder: Path) -> int:
    return sum(1 for _ in (folder / SAMPLES).glob("*/[0-9]*"))


def samples(folder: Path) -> Iterator[Sample]:
    """All samples, by index."""
    for path, record in read_samples(folder):
        named = {"image": record["image"], **record["factors"]}
        pictures = {name: (path / one["file"]).read_bytes() for name, one in named.items()}
        text = (path / RECORD).read_text(encoding="ascii")
        yield Sample(record["index"], record, text, pictures)


def write_shards(
    folder: Path,
    target: Path,
    name: str,
    write: Callable[[Path, list[Sample]], None],
    size: int = SHARD,
) -> list[Path]:
    """Writes a data set's samples as shards of `size` into `target`; their paths.

    name: of a shard, a format of its {number} and of their {total}. write: writes a shard to a
    path, which is a temporary one. Shards of an earlier run that aren't replaced are removed; what
    else lies there stays.
    """
    target.mkdir(parents=True, exist_ok=True)
    number_of_shards = -(-count_samples(folder) // size)
    left, written = samples(folder), []
    for number in range(number_of_shards):
        path = target / name.format(number=number, total=number_of_shards)
        temporary = temporary_beside(path)
        try:
            write(temporary, list(islice(left, size)))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        written.append(path)
    shard = r"\d+".join(map(re.escape, re.split(r"\{.*?\}", name)))
    for stale in set(target.iterdir()) - set(written):
        if re.fullmatch(shard, stale.name) or is_temporary(stale):
            stale.unlink()
    return written
