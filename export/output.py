"""A bundle's folder appears under its name when it is complete, and not before."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import ExportError
from .manifest import MANIFEST


def check_output(output: Path, overwrite: bool) -> None:
    """Raises ExportError if `output` is there and must not, or can't, be replaced."""
    if not output.exists():
        return
    if not overwrite:
        raise ExportError(f"{output} exists; give another output, or ask to overwrite it")
    if not (output / MANIFEST).is_file():
        raise ExportError(f"{output} exists and isn't a bundle; it will not be overwritten")


@contextmanager
def replacing(output: Path) -> Iterator[Path]:
    """A folder beside `output` that takes its place if the block succeeds, and vanishes if not.

    Raises:
        ExportError: the folder can't be made, or the disk is full.
    """
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    previous = output.with_name(f".{output.name}.{os.getpid()}.previous")
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise ExportError(f"can't write beside {output}: {error}") from error
    try:
        yield partial
        if not output.exists():
            partial.rename(output)
            return
        output.rename(previous)
        try:
            partial.rename(output)
        except BaseException:
            previous.rename(output)
            raise
        shutil.rmtree(previous)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
