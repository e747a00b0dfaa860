"""Whether a bundle's files are those that its manifest lists."""

from __future__ import annotations

from pathlib import Path

from fgdm.errors import BundleError
from fgdm.file_tree import FileTree, open_tree, reading
from fgdm.manifest import Manifest


def check_sizes(bundle: Path, manifest: Manifest) -> None:
    """Raises BundleError if a file is missing or not as long as the manifest says."""
    _check_sizes(open_tree(bundle), manifest)


def _check_sizes(files: FileTree, manifest: Manifest) -> None:
    problems = []
    for entry in manifest.files:
        try:
            size = files.size(entry.path)
        except OSError as error:
            problems.append(f"{entry.path}: {error.strerror}")
            continue
        if size != entry.size:
            problems.append(f"{entry.path} has {size} bytes instead of {entry.size}")
    _raise_damaged(files.root, problems)


def check_hashes(bundle: Path, manifest: Manifest) -> None:
    """Reads every file and raises BundleError if one isn't byte for byte as the manifest says."""
    files = open_tree(bundle)
    _check_sizes(files, manifest)
    problems = [
        f"{entry.path} has been altered (its SHA-256 differs)"
        for entry in manifest.files
        if sha256(files, entry.path) != entry.sha256
    ]
    _raise_damaged(bundle, problems)


def _raise_damaged(bundle: Path, problems: list[str]) -> None:
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise BundleError(
            f"bundle {bundle} is damaged: {', '.join(problems[:3])}{more}; "
            "copy it again or export it again"
        )


def sha256(files: FileTree, name: str) -> str:
    """A file's SHA-256 in hex; BundleError if it can't be read."""
    with reading(files, name):
        return files.sha256(name)
