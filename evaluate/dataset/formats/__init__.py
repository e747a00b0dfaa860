"""A data set's folder in the forms that others read: written whole, and anew after every run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fgdm.errors import RequestError


def _coco(folder: Path) -> list[Path]:
    from .coco import write_coco  # noqa: PLC0415

    return write_coco(folder)


def _parquet(folder: Path) -> list[Path]:
    from .parquet import write_parquet  # noqa: PLC0415 (it needs the `datasets` package)

    return write_parquet(folder)


def _webdataset(folder: Path) -> list[Path]:
    from .webdataset import write_webdataset  # noqa: PLC0415

    return write_webdataset(folder)


#: What writes a format into a folder of its name in the data set's: the paths that it has written.
FORMATS: dict[str, Callable[[Path], list[Path]]] = {
    "coco": _coco,
    "parquet": _parquet,
    "webdataset": _webdataset,
}


def check_formats(names: list[str]) -> None:
    """RequestError for a name that is none; ModuleNotFoundError where its package is missing."""
    for name in names:
        if name not in FORMATS:
            raise RequestError(f"there is no format {name!r}; there are {', '.join(FORMATS)}")
    if "parquet" in names:
        import datasets  # noqa: F401, PLC0415
