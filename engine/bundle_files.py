"""Whether a bundle's files are those that its manifest lists."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

from fgdm.errors import BundleError
from fgdm.manifest import Manifest

_CHUNK = 2**20


def check_sizes(bundle: Path, manifest: Manifest) -> None:
    """Raises BundleError if a file is missing or not as long as the manifest says."""
    problems = []
    for entry in manifest.files:
        try:
            status = (bundle / entry.path).stat()
        except OSError as error:
            problems.append(f"{entry.path}: {error.strerror}")
            continue
        if not stat.S_ISREG(status.st_mode):
            problems.append(f"{entry.path} isn't a file")
        elif status.st_size != entry.size:
            problems.append(f"{entry.path} has {status.st_size} bytes instead of {entry.size}")
    _raise_damaged(bundle, problems)


def check_hashes(bundle: Path, manifest: Manifest) -> None:
    """Reads every file and raises BundleError if one isn't byte for byte as the manifest says."""
    check_sizes(bundle, manifest)
    problems = [
        f"{entry.path} has been altered (its SHA-256 differs)"
        for entry in manifest.files
        if sha256_file(bundle / entry.path) != entry.sha256
    ]
    _raise_damaged(bundle, problems)


def _raise_damaged(bundle: Path, problems: list[str]) -> None:
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise BundleError(
            f"bundle {bundle} is damaged: {', '.join(problems[:3])}{more}; "
            "copy it again or export it again"
        )


def sha256_file(path: Path) -> str:
    """A file's SHA-256 in hex; BundleError if it can't be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise BundleError(
            f"can't read {path}: {error.strerror}; check its permissions, or copy it again"
        ) from None
    return digest.hexdigest()
