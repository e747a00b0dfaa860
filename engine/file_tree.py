"""A bundle's files by their names, wherever they are: in a folder, or in an archive.

An archive is a ZIP file whose members are stored, not compressed, and begin at multiples of 64
bytes, so that what is in it can be used where it lies. ``fgdm pack`` makes one. The core reads
archives by itself, and takes none that is refused here.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import struct
import zipfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fgdm.errors import BundleError, RequestError
from fgdm.fields import JsonObject, is_plain, parse_object
from fgdm.files import MOST_JSON, read_regular

#: Where members of an archive begin: at multiples of as many bytes.
ALIGNMENT = 64
#: The end of an archive's name.
SUFFIX = ".fgdm"

_CHUNK = 2**20
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 0x2041
# What zipfile raises for another CRC, a size beyond the end, a flag, a name that isn't UTF-8.
_DAMAGES = (zipfile.BadZipFile, EOFError, RuntimeError, ValueError)


class FileTree(ABC):
    """Files by their names, with "/" between their parts.

    What can't be read raises OSError. remedy: what to do about it.
    """

    remedy: str

    def __init__(self, root: Path) -> None:
        self.root = root

    @abstractmethod
    def names(self) -> list[str]:
        """Of all files, sorted."""

    @abstractmethod
    def size(self, name: str) -> int:
        """A file's bytes; OSError for what is no regular file, too."""

    @abstractmethod
    def chunks(self, name: str) -> Iterator[bytes]:
        """A file's content, piece by piece."""

    def has(self, name: str) -> bool:
        """Whether there is a file of that name that could be read."""
        try:
            self.size(name)
        except OSError:
            return False
        return True

    def read(self, name: str, most: int = MOST_JSON) -> bytes:
        """A whole file of at most `most` bytes."""
        if self.size(name) > most:
            raise OSError(errno.EFBIG, f"it has more than {most} bytes")
        return b"".join(self.chunks(name))

    def sha256(self, name: str) -> str:
        """A file's SHA-256 in hex."""
        digest = hashlib.sha256()
        for chunk in self.chunks(name):
            digest.update(chunk)
        return digest.hexdigest()


class Folder(FileTree):
    """The files of a folder, and of those that links in it lead to."""

    remedy = "check its permissions, or copy the bundle again"

    def names(self) -> list[str]:
        """Of all files, sorted, but those of folders that can't be read."""
        found = _files_below(self.root, frozenset())
        return sorted(path.relative_to(self.root).as_posix() for path in found)

    def size(self, name: str) -> int:
        """A file's bytes."""
        status = (self.root / name).stat()
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        return status.st_size

    def chunks(self, name: str) -> Iterator[bytes]:
        """A file's content, piece by piece."""
        with (self.root / name).open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk

    def read(self, name: str, most: int = MOST_JSON) -> bytes:
        """A whole file of at most `most` bytes."""
        return read_regular(self.root / name, most)


class Archive(FileTree):
    """The members of an archive. Raises BundleError for what is none."""

    remedy = "fetch a fresh copy of the archive, or pack the bundle again with fgdm pack"

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        try:
            with zipfile.ZipFile(root) as archive:
                listed = archive.infolist()
            with root.open("rb") as stream:
                for info in listed:
                    _check_member(info, _content_offset(stream.fileno(), info))
        except (
            OSError,
            ValueError,
            OverflowError,
            NotImplementedError,
            zipfile.BadZipFile,
            struct.error,
        ) as error:
            raise _unusable(root, f"it is cut short, or no ZIP archive ({error})") from None
        except _RefusedError as refusal:
            raise _unusable(root, str(refusal)) from None
        twice = [name for name, count in Counter(i.filename for i in listed).items() if count > 1]
        if twice:
            raise _unusable(root, f"it has two members called {twice[0]!a:.120}")
        self._members = {info.filename: info for info in listed if not info.is_dir()}

    def names(self) -> list[str]:
        """Of all members, sorted."""
        return sorted(self._members)

    def size(self, name: str) -> int:
        """A member's bytes."""
        return self._member(name).file_size

    def chunks(self, name: str) -> Iterator[bytes]:
        """A member's content, piece by piece."""
        member = self._member(name)
        try:
            with zipfile.ZipFile(self.root) as archive, archive.open(member) as stream:
                while chunk := stream.read(_CHUNK):
                    yield chunk
        except _DAMAGES as error:
            reason = str(error) or "it ends too early"
            raise OSError(errno.EIO, f"it is damaged ({reason})") from None

    def _member(self, name: str) -> zipfile.ZipInfo:
        if name not in self._members:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return self._members[name]


def _files_below(place: Path, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    """A file itself, those of a folder and of all in it; links are followed. above: the device and
    inode of each folder on the way, into which a link may lead back."""
    try:
        status = place.stat()
        is_file = stat.S_ISREG(status.st_mode)
        entries = [] if is_file else list(place.iterdir())
    except OSError:
        return
    here = (status.st_dev, status.st_ino)
    if is_file:
        yield place
    elif here not in above:
        for entry in entries:
            yield from _files_below(entry, above | {here})


@contextlib.contextmanager
def reading(files: FileTree, name: str) -> Iterator[None]:
    """Raises BundleError, with what to do, in place of the OSError of a file that can't be read."""
    try:
        yield
    except OSError as error:
        raise BundleError(
            f"can't read {files.root / name}: {error.strerror or error}; {files.remedy}"
        ) from None


def read_object(files: FileTree, name: str) -> JsonObject:
    """A file that is a JSON object. Raises BundleError."""
    with reading(files, name):
        return parse_object(files.read(name), name)


class _RefusedError(Exception):
    """A member that an archive mustn't have; what it says."""


def _content_offset(descriptor: int, info: zipfile.ZipInfo) -> int:
    """Where a member's content begins, by its own header."""
    header = os.pread(descriptor, _LOCAL_HEADER.size, info.header_offset)
    signature, name_size, extra_size = _LOCAL_HEADER.unpack(header)
    if signature != b"PK\x03\x04":
        raise _RefusedError(f"its member {info.filename!a:.120} isn't where the directory says")
    return info.header_offset + _LOCAL_HEADER.size + int(name_size) + int(extra_size)


def _check_member(info: zipfile.ZipInfo, offset: int) -> None:
    member = f"its member {info.filename!a:.120}"
    name = info.filename.removesuffix("/")
    if info.flag_bits & _ENCRYPTED:
        raise _RefusedError(f"{member} is encrypted, expected it as it is")
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise _RefusedError(
            f"{member} is compressed (method {info.compress_type}), expected stored, so that it "
            "can be used where it lies"
        )
    if not is_member_name(name) or info.orig_filename != info.filename:
        raise _RefusedError(f"{member} has a name that doesn't stay inside the bundle")
    if info.file_size and offset % ALIGNMENT:
        raise _RefusedError(f"{member} begins at byte {offset}, expected a multiple of {ALIGNMENT}")


def is_inner_name(name: str) -> bool:
    """Whether a name stays inside its tree and is in its shortest form."""
    return all(part not in ("", ".", "..") for part in name.split("/"))


def is_member_name(name: str) -> bool:
    """Whether a file of an archive may have a name; the core has the same rule."""
    return is_inner_name(name) and is_plain(name) and "\\" not in name


def _unusable(root: Path, reason: str) -> BundleError:
    return BundleError(
        f"{root} can't be used: {reason}; fetch a fresh copy of it, or pack the bundle again with "
        "fgdm pack"
    )


def open_tree(bundle: Path) -> FileTree:
    """A bundle's files. Raises BundleError for a file that is no archive; a folder need not be
    there yet."""
    return Archive(bundle) if is_archive(bundle) else Folder(bundle)


def is_archive(bundle: Path) -> bool:
    """Whether a bundle is one file. What is wrong with a path that can't be asked, whoever reads
    from it is told."""
    return os.path.isfile(bundle)  # noqa: PTH113 (Path's raises where a folder is locked)


def require_folder(bundle: Path, purpose: str) -> None:
    """Raises RequestError for an archive, where `purpose`, such as "fgdm build", needs a folder."""
    if is_archive(bundle):
        raise RequestError(
            f"{bundle} is an archive, and {purpose} needs a folder; unpack it: "
            f"fgdm unpack {bundle} FOLDER"
        )
