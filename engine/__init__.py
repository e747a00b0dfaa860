"""fgdm: prompt-compliant text-to-image diffusion from N cheap maps and one painted image.

    import fgdm

    with fgdm.Engine("bundles/scenes") as engine:
        result = engine.generate("two dogs beside a house under a tree")
    result.image.save("image.png")

The names below are loaded on first use, so that ``fgdm.export``, ``fgdm.train`` and ``fgdm doctor``
work before the compiled core is built.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from fgdm.errors import (
    BackendError,
    BundleError,
    CancelledError,
    DeadlineError,
    Error,
    OutOfMemoryError,
    QueueFullError,
    RequestError,
)

if TYPE_CHECKING:
    from fgdm._core import DeviceArray, StepInfo
    from fgdm.compiling import compile_graphs
    from fgdm.compliance import MapCheck, check_map
    from fgdm.engine import Engine
    from fgdm.factor_result import Candidate, MapInfo
    from fgdm.inversion import Edit, Inversion
    from fgdm.job import Job
    from fgdm.libraries import custom_ops_library
    from fgdm.pictures import candidates_picture, overview_picture
    from fgdm.result import Result

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "BundleError",
    "CancelledError",
    "Candidate",
    "DeadlineError",
    "DeviceArray",
    "Edit",
    "Engine",
    "Error",
    "Inversion",
    "Job",
    "MapCheck",
    "MapInfo",
    "OutOfMemoryError",
    "QueueFullError",
    "RequestError",
    "Result",
    "StepInfo",
    "candidates_picture",
    "check_map",
    "compile_graphs",
    "custom_ops_library",
    "overview_picture",
]

_HOME = {
    "Candidate": "fgdm.factor_result",
    "DeviceArray": "fgdm._core",
    "Edit": "fgdm.inversion",
    "Engine": "fgdm.engine",
    "Inversion": "fgdm.inversion",
    "Job": "fgdm.job",
    "MapCheck": "fgdm.compliance",
    "Result": "fgdm.result",
    "MapInfo": "fgdm.factor_result",
    "StepInfo": "fgdm._core",
    "candidates_picture": "fgdm.pictures",
    "check_map": "fgdm.compliance",
    "compile_graphs": "fgdm.compiling",
    "custom_ops_library": "fgdm.libraries",
    "overview_picture": "fgdm.pictures",
}


def __getattr__(name: str) -> object:
    """Loads a public name from its module. ImportError if that needs a core that isn't built."""
    if name not in _HOME:
        raise AttributeError(f"module 'fgdm' has no attribute {name!r}")
    try:
        value: object = getattr(importlib.import_module(_HOME[name]), name)
    except ModuleNotFoundError as error:
        if error.name != "fgdm._core":
            raise
        raise ImportError(
            f"fgdm.{name} needs the compiled core, fgdm._core, which isn't built for this Python; "
            "run `pip install .` in the source folder, and `fgdm doctor` to see what is missing",
            name="fgdm._core",
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
