"""A bundle's compiled contexts: what execution providers made of its graphs, and for what.

Reads the context.json of each; no runtime is imported. Engines and `fgdm compile` write them.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fgdm.bundle_files import sha256
from fgdm.errors import BundleError
from fgdm.fields import Fields, JsonObject, parse_object
from fgdm.file_tree import FileTree, Folder, is_inner_name
from fgdm.files import OutputError, read_regular
from fgdm.manifest import Manifest
from fgdm.plans import PLANS, NewerSchemaError, is_key, plan_key

#: Their folder in a bundle: contexts/<target>/<key>/ with context.json, context.onnx and more.
CONTEXTS = "contexts"

#: The newest metadata schema that this version reads; the core writes it.
SCHEMA = 1

_METADATA = "context.json"
_MODEL = "context.onnx"
_KERNELS = ".kernels"  # behind a context's name: what TensorRT-RTX compiled on the card
_LEFTOVER_SECONDS = 24 * 3600
_LARGEST = 2**50


@dataclass(frozen=True)
class Context:
    """A compiled graph under contexts/<target>/.

    covers: everything that the key is the hash of, None where that can't be read. size: bytes of
    its files. problem: why no engine can use it; what it needs of a machine stands in covers.
    obsolete: whether that is final, because it is damaged or the bundle has changed since.
    """

    target: str
    key: str
    folder: Path
    covers: JsonObject | None
    size: int
    problem: str | None
    obsolete: bool

    @property
    def made_for(self) -> str:
        """Runtime, provider, device and precision, for a person."""
        names = ("provider", "runtime", "device", "precision")
        found = [] if self.covers is None else [str(self.covers.get(name, "")) for name in names]
        return ", ".join(filter(None, found))


def is_compiled(name: str) -> bool:
    """Whether a file of a bundle is a plan's or a compiled context's."""
    return name.split("/", maxsplit=1)[0] in (PLANS, CONTEXTS)


def find_contexts(folder: Path, manifest: Manifest, *, verify: bool = False) -> tuple[Context, ...]:
    """Every context in a folder of them, by target and graph; `verify` reads each one's files and
    checks their hashes."""
    found = [
        _context(place, manifest, verify) for place in folder.glob("*/*") if is_key(place.name)
    ]
    return tuple(sorted(found, key=_order))


def prune_contexts(folder: Path, manifest: Manifest) -> tuple[Context, ...]:
    """Removes obsolete contexts, and what processes that were killed a day ago have left; the
    contexts. Raises OutputError for one that can't be removed."""
    removed = [item for item in find_contexts(folder, manifest, verify=True) if item.obsolete]
    for context in removed:
        _remove(context.folder)
        shutil.rmtree(context.folder.with_suffix(_KERNELS), ignore_errors=True)
    for leftover in _leftovers(folder):
        shutil.rmtree(leftover, ignore_errors=True)
    return tuple(removed)


def _remove(context: Path) -> None:
    try:
        shutil.rmtree(context)
    except FileNotFoundError:  # another process removes it, too
        pass
    except OSError as error:
        raise OutputError(
            f"can't remove {context}: {error.strerror or error}; make its folder writable, or "
            "remove it by hand"
        ) from None


def _leftovers(folder: Path) -> Iterator[Path]:
    """Old drafts, and old kernels without a context: those of a young one may be on their way."""
    kernels = (place for place in folder.glob(f"*/*{_KERNELS}") if is_key(place.stem))
    orphans = (place for place in kernels if not place.with_suffix("").exists())
    yield from filter(_is_old, (*folder.glob("*/.*.part"), *orphans))


def _is_old(place: Path) -> bool:
    try:
        return time.time() - place.stat().st_mtime > _LEFTOVER_SECONDS
    except OSError:  # it has its name by now, or another process removed it
        return False


def _order(context: Context) -> tuple[str, str, str]:
    graph = "" if context.covers is None else str(context.covers.get("graph"))
    return context.target, graph, context.key


def _context(place: Path, manifest: Manifest, verify: bool) -> Context:
    covers, problem, newer = None, None, False
    files = Folder(place)
    try:
        fields = _read(place)
        covers = fields.fields("covers").value
        _check_files(files, fields.fields("files"), verify)
        problem = _staleness(covers, manifest)
    except BundleError as error:
        problem, newer = str(error), isinstance(error, NewerSchemaError)
    obsolete = problem is not None and not newer
    return Context(place.parent.name, place.name, place, covers, _size(files), problem, obsolete)


def _size(files: FileTree) -> int:
    """Bytes of all files that are there; another process may remove them meanwhile."""
    size = 0
    for name in files.names():
        with contextlib.suppress(OSError):
            size += files.size(name)
    return size


def _read(place: Path) -> Fields:
    try:
        content = read_regular(place / _METADATA)
    except OSError as error:
        raise BundleError(f"its {_METADATA} can't be read: {error.strerror}") from None
    fields = Fields(parse_object(content, _METADATA), _METADATA)
    if fields.whole("schema", 1, 2**31) > SCHEMA:
        raise NewerSchemaError("it was written by a newer fgdm; upgrade fgdm")
    if plan_key(fields.fields("covers").value) != place.name:
        raise BundleError("what it covers has been altered")
    return fields


def _check_files(files: FileTree, described: Fields, verify: bool) -> None:
    names = described.names()
    if _MODEL not in names:
        raise BundleError(f"it has no {_MODEL}")
    for name in names:
        entry = described.fields(name)
        if not is_inner_name(name):
            raise BundleError(f"{name} is no file of it")
        size = entry.whole("size", 0, _LARGEST)
        try:
            incomplete = files.size(name) != size
        except OSError:
            incomplete = True
        if incomplete:
            raise BundleError(f"{name} is missing or incomplete")
        if verify and sha256(files, name) != entry.text("sha256"):
            raise BundleError(f"{name} has been altered (its SHA-256 differs)")


def _staleness(covers: JsonObject, manifest: Manifest) -> str | None:
    """Why a context isn't one of this bundle: its graph or weights are others."""
    here = {entry.path: entry.sha256 for entry in manifest.files}
    files = covers.get("files")
    listed = files.items() if isinstance(files, dict) else ()
    changed = [path for path, sha256 in listed if here.get(path) != sha256]
    return f"stale: {', '.join(changed)} changed since it was made" if changed else None
