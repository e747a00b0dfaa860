"""Which runtime's libraries an engine opens: those that are named, or of installed wheels."""

from __future__ import annotations

import os
from typing import Any

from fgdm import _core, machine


def custom_ops_library() -> str:
    """Path of the library that brings the processor's kernel for ``fgdm::SegFreeAttention`` to
    sessions of your own: for ONNX Runtime's ``SessionOptions.register_custom_ops_library``."""
    return _core.__file__


def find_libraries(backend: str, given: str) -> dict[str, Any]:
    """The runtimes' libraries: the one that is `given`, else the environment's, else those in
    installed wheels; "" leaves the choice to the core. And ONNX Runtime's plugins.

    Arguments of `_core.Engine`: library, tensorrt_library, plugins. What plugins and the CUDA
    provider are linked against is opened.
    """
    if backend == "tensorrt":
        return {"tensorrt_library": given or _find_tensorrt()}
    plugins = machine.choose_plugins(machine.find_plugins(), backend)
    library = (
        given
        or os.environ.get("FGDM_ONNXRUNTIME", "")
        or machine.choose_library(machine.find_runtimes(), backend, plugins)
    )
    for plugin in plugins:
        machine.prepare_plugin(plugin)
    if backend in ("auto", "cuda") and machine.provides_cuda(library):
        machine.open_cuda_libraries()
    named = "FGDM_ONNXRUNTIME_PLUGINS" in os.environ  # which the core reads
    return {
        "library": library,
        "tensorrt_library": _find_tensorrt() if backend == "auto" else "",
        "plugins": [] if named else [plugin.library for plugin in plugins],
    }


def _find_tensorrt() -> str:
    return os.environ.get("FGDM_TENSORRT", "") or machine.find_tensorrt()
