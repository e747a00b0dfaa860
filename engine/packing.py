"""A bundle's folder as one file, and back: what ``fgdm pack`` and ``fgdm unpack`` do."""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from fgdm.bundle_files import check_hashes, check_sizes
from fgdm.contexts import CONTEXTS
from fgdm.errors import BundleError, RequestError
from fgdm.file_tree import (
    ALIGNMENT,
    Archive,
    FileTree,
    Folder,
    is_archive,
    is_member_name,
    reading,
    require_folder,
)
from fgdm.files import (
    OutputError,
    check_is_file,
    create_folder,
    refusal,
    remove_empty,
    temporary_beside,
)
from fgdm.manifest import (
    MANIFEST,
    MANIFEST_HASH,
    Manifest,
    check_archive,
    check_manifest,
    read_manifest,
)

#: The id of the extra field that aligns a member, which Android's zipalign uses for the same.
_PADDING = 0xD935
_LOCAL_HEADER, _EXTRA_HEADER, _ZIP64_EXTRA = 30, 4, 20
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # that the format knows
_REMEDY = "choose another place"


def pack(bundle: Path, archive: Path, *, overwrite: bool = False) -> int:
    """Makes a bundle's folder one file, ``archive``: the same bytes for the same files.

    Every file goes in but compiled contexts, which are this machine's, and those that the manifest
    doesn't list and whose name, or a folder's above them, begins with a dot. Files and folders that
    links lead to go in as such. The archive appears under its name when it is complete and has been
    read again. Returns its size in bytes.

    Raises BundleError for a bundle that is damaged, can't be read or has a file whose name no
    archive can hold, RequestError for an archive in place of a folder, and OutputError where
    `archive` exists and `overwrite` isn't said, or can't be written.
    """
    require_folder(bundle, "fgdm pack")
    manifest = read_manifest(bundle)
    check_manifest(bundle)
    check_sizes(bundle, manifest)
    names = _names(bundle, manifest)
    with _replacing(archive, overwrite, bundle) as partial:
        with partial.open("xb") as stream:
            _write(stream, Folder(bundle), names)
            stream.flush()
            os.fsync(stream.fileno())
        with _said_of(archive, partial):
            check_archive(partial)
        with _said_of(bundle, partial):
            check_hashes(partial, manifest)
        return partial.stat().st_size


def unpack(archive: Path, folder: Path) -> None:
    """Gives the folder back that an archive was made of, its files byte for byte, in `folder`,
    which isn't there or is empty. It appears under its name when it is complete.

    Raises BundleError for a damaged archive, RequestError for a folder in place of an archive, and
    OutputError where `folder` holds something, is the current one or can't be written.
    """
    if os.path.isdir(archive):  # noqa: PTH112 (Path's raises where a folder is locked)
        raise RequestError(f"{archive} is a folder already; expected an archive of fgdm pack")
    if not is_archive(archive):
        raise BundleError(
            f"{archive} isn't there, or can't be read; expected a file of fgdm pack that this user "
            "may read"
        )
    check_archive(archive)
    files = Archive(archive)
    manifest = read_manifest(archive)
    with _filling(folder) as partial:
        for name in files.names():
            target = partial / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as stream:
                _copy(files, name, stream)
        with _said_of(archive, partial):
            check_hashes(partial, manifest)


def _names(bundle: Path, manifest: Manifest) -> list[str]:
    """Of the files to pack: the manifest first, so that tools show it first."""
    first = [MANIFEST, MANIFEST_HASH]
    listed = {entry.path for entry in manifest.files}
    beside = {
        name
        for name in Folder(bundle).names()
        if not any(part.startswith(".") for part in name.split("/"))
        and not name.startswith(f"{CONTEXTS}/")
    }
    names = [*first, *sorted((listed | beside) - set(first))]
    for name in names:
        if not is_member_name(name):
            raise BundleError(
                f"{bundle} has a file whose name no archive can hold, {name!a:.200}: expected "
                "UTF-8 without control characters, changes of direction and backslashes; rename "
                "it or remove it"
            )
    return names


def _write(stream: IO[bytes], files: FileTree, names: list[str]) -> None:
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            member = zipfile.ZipInfo(name, _EARLIEST)
            member.create_system = 3  # Unix, whatever this is
            member.external_attr = 0o100644 << 16
            with reading(files, name):
                large = files.size(name) > zipfile.ZIP64_LIMIT
            header = _LOCAL_HEADER + len(name.encode()) + (_ZIP64_EXTRA if large else 0)
            padding = -(stream.tell() + header + _EXTRA_HEADER) % ALIGNMENT
            member.extra = struct.pack("<HH", _PADDING, padding) + bytes(padding)
            with archive.open(member, "w", force_zip64=large) as target:
                _copy(files, name, target)


def _copy(files: FileTree, name: str, target: IO[bytes]) -> None:
    for chunk in _content(files, name):
        target.write(chunk)


def _content(files: FileTree, name: str) -> Iterator[bytes]:
    with reading(files, name):
        yield from files.chunks(name)


@contextlib.contextmanager
def _said_of(place: Path, partial: Path) -> Iterator[None]:
    """Names `place` in a BundleError in place of `partial`, which nobody will find."""
    try:
        yield
    except BundleError as error:
        raise BundleError(str(error).replace(str(partial), str(place))) from None


@contextlib.contextmanager
def _replacing(archive: Path, overwrite: bool, bundle: Path) -> Iterator[Path]:
    """A name beside `archive`; what has it then takes that one's place, or vanishes."""
    target = Path(os.path.realpath(archive))  # a link stays one
    if target.is_relative_to(os.path.realpath(bundle)):
        raise OutputError(f"{archive} lies in the bundle's own folder; give a place outside")
    created: list[Path] = []
    partial = temporary_beside(target)
    try:
        try:
            check_is_file(target)
            if target.exists() and not overwrite:
                raise OutputError(f"{archive} exists; give another name, or --overwrite")
            create_folder(target.parent, created)
            yield partial
            partial.replace(target)
        except OSError as error:
            raise refusal(archive, error, _REMEDY) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        remove_empty(created)


@contextlib.contextmanager
def _filling(folder: Path) -> Iterator[Path]:
    """A folder beside `folder`, which takes that one's place, or vanishes."""
    target = _resolved(folder)
    partial = temporary_beside(target)
    created: list[Path] = []
    try:
        try:
            create_folder(target.parent, created)
            partial.mkdir()
            yield partial
            partial.replace(target)
        except OSError as error:
            raise refusal(folder, error, _REMEDY) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        remove_empty(created)


def _resolved(folder: Path) -> Path:
    """What `folder` is without links, "." and ".."; OutputError unless it may be replaced."""
    place = Path(os.path.realpath(folder))
    try:
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise OutputError(f"{folder} exists and isn't empty; give another folder")
        if place == Path.cwd():  # a shell that is in it would be nowhere
            raise OutputError(f"{folder} is the current folder; give another one, such as ./bundle")
    except OSError as error:
        raise refusal(folder, error, _REMEDY) from None
    return place
