"""A data set's folder. The files themselves say what is there: a sample is a folder that was
renamed when it was complete, so nothing is there twice and nothing is half-written."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from fgdm.errors import RequestError
from fgdm.files import (
    OutputError,
    create_folder,
    is_temporary,
    read_regular,
    remove_empty,
    temporary_beside,
    write_all,
)

from .sample import Made, file_name

Json = dict[str, Any]

#: What all samples share, and how many there shall be.
HEAD = "dataset.json"
#: Version of that file.
SCHEMA = 1
RECORD = "sample.json"
SAMPLES, REJECTED = "samples", "rejected"
#: Samples of one folder: file systems and file managers are slow with many more.
GROUP = 1000


class Store:
    """One writer's data set. Use it in a ``with`` statement.

    Entering makes the folder, takes it for this process, and removes what a killed one left under
    temporary names. OutputError if it can't be written, or another process writes to it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._created: list[Path] = []
        self._lock = -1

    def __enter__(self) -> Store:
        try:
            for name in (SAMPLES, REJECTED):
                create_folder(self.folder / name, self._created)
            self._lock = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
            self._take()
            for leftover in [*self.folder.glob(".*"), *self.folder.glob("*/*/.*")]:
                if is_temporary(leftover):
                    _remove(leftover)
        except OSError as error:
            self._leave()
            raise _refusal(self.folder, error) from None
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave()

    def begin(self, identity: Json, count: int) -> None:
        """Writes what all samples share, or compares it with what those that are there share.

        Raises RequestError where they differ, and OutputError in a folder that holds other things
        than a data set. A head without samples, of a run that was refused before it made one, binds
        nobody.
        """
        head: Json = json.loads(json.dumps({"schema": SCHEMA, "count": count, **identity}))
        path = self.folder / HEAD
        if path.exists():
            before = read_head(self.folder)
            differing = sorted(_differences(before, head) - {"count"})
            if differing and self.indices():
                raise RequestError(
                    f"{self.folder} was begun with other values of {', '.join(differing)} (see "
                    f"{path}); go on with those, or choose another output folder"
                )
            if not differing:
                head["count"] = max(count, before["count"])
        elif others := sorted(_others(self.folder)):
            raise OutputError(
                f"{self.folder} holds {others[0]}, and no data set; choose a new or an empty folder"
            )
        write_all({path: _text(head)})

    def indices(self) -> set[int]:
        """Of all samples that are there, the rejected ones among them."""
        made = {int(entry.name) for entry in _entries(self.folder / SAMPLES)}
        return made | {int(entry.stem) for entry in _entries(self.folder / REJECTED)}

    def add(self, made: Made) -> None:
        """Writes a sample whole or not at all. One that is there already stays as it is.

        Raises OutputError if it can't be written.
        """
        try:
            if made.rejected:
                path = self.folder / REJECTED / _group(made.index) / f"{made.index:08}.json"
                path.parent.mkdir(exist_ok=True)
                write_all({path: _text(made.record)})
            else:
                self._add_folder(made)
        except OSError as error:
            raise _refusal(self.folder, error) from None

    def _add_folder(self, made: Made) -> None:
        path = sample_folder(self.folder, made.index)
        path.parent.mkdir(exist_ok=True)
        temporary = temporary_beside(path)
        contents = {file_name(name): content for name, content in made.pictures.items()}
        try:
            temporary.mkdir()
            for name, content in {**contents, RECORD: _text(made.record)}.items():
                with open(temporary / name, "xb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())
            temporary.rename(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        finally:
            _remove(temporary)

    def _take(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"another process writes to {self.folder}; wait for it, or choose another output "
                "folder"
            ) from None
        except OSError:  # a file system without locks
            pass

    def _leave(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        for name in (SAMPLES, REJECTED):
            with contextlib.suppress(OSError):
                (self.folder / name).rmdir()  # where nothing was written
        remove_empty(self._created)


def read_head(folder: Path) -> Json:
    """What a data set's samples share. RequestError if there is none, or it is newer than this."""
    head = _read(folder / HEAD)
    if head.get("schema") != SCHEMA:
        raise RequestError(
            f"{folder / HEAD} has the schema {head.get('schema')}, this fgdm reads {SCHEMA}"
        )
    return head


def sample_folder(folder: Path, index: int) -> Path:
    """Of a data set's sample."""
    return folder / SAMPLES / _group(index) / f"{index:08}"


def read_samples(folder: Path) -> Iterator[tuple[Path, Json]]:
    """The folder and the record of every sample, by index."""
    for path in _entries(folder / SAMPLES):
        yield path, _read(path / RECORD)


def read_rejected(folder: Path) -> Iterator[Json]:
    """The record of every rejected sample, by index."""
    for path in _entries(folder / REJECTED):
        yield _read(path)


def _entries(folder: Path) -> Iterator[Path]:
    """What is complete in the folder's groups, by name."""
    groups = sorted(folder.iterdir()) if folder.is_dir() else []
    for group in groups:
        yield from sorted(path for path in group.iterdir() if not path.name.startswith("."))


def _others(folder: Path) -> Iterator[str]:
    """The names of what is no data set's, but for hidden files."""
    for path in folder.iterdir():
        if path.name not in (SAMPLES, REJECTED) and not path.name.startswith("."):
            yield path.name


def _group(index: int) -> str:
    return f"{index // GROUP:05}"


def _read(path: Path) -> Json:
    try:
        content: Json = json.loads(read_regular(path))
    except (OSError, ValueError) as error:
        raise RequestError(f"can't read {path}: {error}; is this a data set's folder?") from None
    return content


def _text(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode("ascii")


def _differences(before: Json, now: Json, place: str = "") -> set[str]:
    """The places of values that two documents don't share, two levels deep."""
    differing = set()
    for key in {*before, *now}:
        a, b = before.get(key), now.get(key)
        if a == b:
            continue
        if not place and isinstance(a, dict) and isinstance(b, dict):
            differing |= _differences(a, b, f"{key}.")
        else:
            differing.add(f"{place}{key}")
    return differing


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _refusal(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"can't write to {folder}: {error.strerror or error}; choose another output folder"
    )
