"""Output that is there whole or not at all, and input that can't hang its reader."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType

from fgdm.errors import RequestError

#: The most bytes of a file of JSON.
MOST_JSON = 16 * 2**20

#: Those of killed processes may lack the random part, which older versions left out.
_TEMPORARY = re.compile(r"\..+\.\d+(\.[0-9a-f]+)?\.part")


def read_regular(path: Path, most: int = MOST_JSON) -> bytes:
    """A whole file of at most `most` bytes.

    Raises OSError for what can't be read, is larger, or is no regular file: a pipe would be waited
    for, and a device read for ever.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        content = stream.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes")
    return content


class OutputError(RequestError):
    """The place given for output can't be written."""


class OutputFolder:
    """A folder for a command's results.

    Entering it creates the folder and proves that files of the given names can be written there, so
    that a wrong path is known before any work is done (OutputError). Leaving it by an exception
    removes the folders it created.

        with OutputFolder(path, ["image.png", "result.json"]) as output:
            ...
            output.write({"image.png": png, "result.json": text})
    """

    def __init__(self, path: str | os.PathLike[str], names: list[str]) -> None:
        self.path = Path(path)
        self._names = names
        self._created: list[Path] = []

    def __enter__(self) -> OutputFolder:
        try:
            create_folder(self.path, self._created)
            self._refuse_folders(self._names)
            _prove(self.path / self._names[0])
        except (OSError, ValueError) as error:
            remove_empty(self._created)
            raise refusal(self.path, error) from None
        except BaseException:
            remove_empty(self._created)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            remove_empty(self._created)

    def write(self, contents: Mapping[str, bytes], absent: Iterable[str] = ()) -> list[Path]:
        """Writes all files or none, replacing older ones; their paths. OutputError if it can't.

        They may be fewer or others than the names that were proved. What an earlier run left of the
        names that are proved, or `absent`, and that isn't written now, goes: it would pass for a
        part of this one.
        """
        self._refuse_folders(contents)
        written = write_all({self.path / name: content for name, content in contents.items()})
        for name in {*self._names, *absent} - contents.keys():
            with contextlib.suppress(OSError):
                (self.path / name).unlink(missing_ok=True)
        return written

    def _refuse_folders(self, names: Iterable[str]) -> None:
        for name in names:
            if (self.path / name).is_dir():
                raise OutputError(
                    f"can't write {self.path / name}: it is a folder; "
                    "remove it or choose another output folder"
                )


def create_folder(path: Path, created: list[Path]) -> None:
    """Makes a folder and those above it that are missing, and adds them to `created`."""
    missing = []
    folder = path
    while not folder.exists() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    for folder in reversed(missing):
        created.append(folder)  # first: Ctrl-C may come in between
        folder.mkdir(exist_ok=True)


def remove_empty(created: list[Path]) -> None:
    """Removes what `create_folder` made, but for what holds a file by now."""
    while created:
        try:
            created.pop().rmdir()
        except (FileNotFoundError, ValueError):  # it wasn't made
            continue
        except OSError:
            return


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keeps other processes that want the same waiting, where the file system has locks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_all(
    contents: Mapping[Path, bytes | memoryview], remedy: str = "choose another output folder"
) -> list[Path]:
    """Writes each file under a temporary name and renames them, in order, once all are complete.

    After an error (OutputError, which ends with `remedy`) or Ctrl-C no temporary file is left and
    no target is half-written.
    """
    temporary: dict[Path, Path] = {}
    try:
        for path, content in contents.items():
            temporary[path] = _write_beside(path, content)
        while temporary:
            path = next(iter(temporary))
            temporary[path].replace(path)
            del temporary[path]
    except OSError as error:
        raise refusal(path, error, remedy) from None
    finally:
        for leftover in temporary.values():
            leftover.unlink(missing_ok=True)
    return list(contents)


def check_replaceable(paths: Iterable[Path], remedy: str) -> None:
    """Raises OutputError unless each file can be replaced; one without write permission is meant to
    stay, whatever its folder allows."""
    for path in paths:
        try:
            if not path.stat().st_mode & 0o222 or not os.access(path, os.W_OK):
                raise OSError(errno.EACCES, "it is read-only")
            _prove(path)
        except OSError as error:
            raise refusal(path, error, remedy) from None


def temporary_beside(path: Path) -> Path:
    """A hidden name in the folder of `path`, for what is to take its place when it is complete."""
    return path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part")


def is_temporary(path: Path) -> bool:
    """Whether a name is one of `temporary_beside`; other hidden files are somebody else's."""
    return _TEMPORARY.fullmatch(path.name) is not None


def _prove(path: Path) -> None:
    """Raises OSError where no file can be written beside `path`."""
    _write_beside(path, b"").unlink()


def check_is_file(path: Path) -> None:
    """Raises OSError for what a file would take the place of: a folder, a device, a pipe."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError(errno.EINVAL, "it is there, and no regular file")


def _write_beside(path: Path, content: bytes | memoryview) -> Path:
    """Writes `content` to a new hidden file in the folder of `path`, with the mode of what is there
    already; its path."""
    check_is_file(path)
    temporary = temporary_beside(path)
    try:
        with open(temporary, "xb") as stream:
            with contextlib.suppress(OSError):
                os.fchmod(stream.fileno(), stat.S_IMODE(path.stat().st_mode))
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def refusal(
    path: Path, error: OSError | ValueError, remedy: str = "choose another output folder"
) -> OutputError:
    """The error that says why a place can't be written, and what to do."""
    reason = (isinstance(error, OSError) and error.strerror) or str(error)
    return OutputError(f"can't write to {path}: {reason}; {remedy}")
