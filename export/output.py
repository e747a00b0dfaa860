"""A bundle's folder appears under its name when it is complete, and not before."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fgdm.files import alone, create_folder, remove_empty
from fgdm.manifest import MANIFEST

from .errors import ExportError


def check_output(output: Path, overwrite: bool) -> None:
    """Raises ExportError if `output` is there and must not, or can't, be replaced."""
    if not output.exists():
        return
    if not overwrite:
        raise ExportError(f"{output} exists; give another output, or ask to overwrite it")
    if not (output / MANIFEST).is_file():
        raise ExportError(f"{output} exists and isn't a bundle; it will not be overwritten")


@contextmanager
def replacing(output: Path, overwrite: bool) -> Iterator[Path]:
    """A folder beside `output` that takes its place if the block succeeds, and vanishes if not.

    Raises:
        ExportError: the folder can't be made, or `output` has come to be there since and must not
            be replaced (`check_output`).
    """
    output = output.resolve()  # what a link points to is replaced, beside it
    unique = f"{os.getpid()}.{os.urandom(4).hex()}"
    partial = output.with_name(f".{output.name}.{unique}.partial")
    created: list[Path] = []
    try:
        try:
            create_folder(output.parent, created)
            partial.mkdir()
        except OSError as error:
            raise ExportError(f"can't write beside {output}: {error}") from error
        yield partial
        with alone(output.parent):
            check_output(output, overwrite)
            _exchange(partial, output, output.with_name(f".{output.name}.{unique}.previous"))
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        remove_empty(created)


def _exchange(partial: Path, output: Path, previous: Path) -> None:
    """Wherever Ctrl-C comes, `output` is what it was or what `partial` was."""
    try:
        if output.exists():
            output.rename(previous)
        partial.rename(output)
    except OSError as error:
        raise ExportError(f"can't rename {partial.name} to {output}: {error}") from error
    finally:
        if previous.exists() and not output.exists():
            previous.rename(output)
        shutil.rmtree(previous, ignore_errors=True)
