"""What was chosen, written into a bundle's manifest."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fgdm import _core
from fgdm.errors import BundleError
from fgdm.files import OutputError, alone, check_replaceable, write_all
from fgdm.manifest import MANIFEST, MANIFEST_HASH, hash_line, parse_manifest, read_checked

_REMEDY = "make the bundle's folder and manifest writable, or copy the bundle to where they are"


def check_writable(bundle: Path) -> None:
    """Raises OutputError where `write_defaults` couldn't write: before anything is measured."""
    check_replaceable((bundle / MANIFEST, bundle / MANIFEST_HASH), _REMEDY)


def write_defaults(bundle: Path, before: str, fields: Mapping[str, Mapping[str, Any]]) -> None:
    """Sets fields of factors, by name, in manifest.json, and its hash in manifest.sha256.

    before: the manifest that was measured. What an engine would refuse isn't written. Whenever this
    is interrupted, even killed, the bundle is valid: manifest.sha256 names both manifests while one
    takes the place of the other.

    Raises BundleError for a manifest that has changed since or that an engine would refuse,
    OutputError if it can't be written.
    """
    with alone(bundle):
        content = read_checked(bundle)
        if content.decode("utf-8") != before:
            raise BundleError(f"{bundle / MANIFEST} has changed since it was measured; tune again")
        manifest = json.loads(content)
        for factor in manifest["factors"]:
            factor.update(fields.get(factor["name"], {}))
        written = (json.dumps(manifest, indent=1) + "\n").encode("ascii")
        parse_manifest(written, str(bundle / MANIFEST))
        _core.check_manifest(written)
        check_writable(bundle)
        recorded = bundle / MANIFEST_HASH
        try:
            write_all({recorded: hash_line(content) + hash_line(written)}, _REMEDY)
            write_all({bundle / MANIFEST: written, recorded: hash_line(written)}, _REMEDY)
        except OutputError:
            if (bundle / MANIFEST).read_bytes() == content:
                with contextlib.suppress(OutputError):  # with both hashes it is valid, too
                    write_all({recorded: hash_line(content)})
            raise
