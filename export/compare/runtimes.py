"""Runners for Polygraphy, by the names that `Engine(backend=…)` and ``fgdm doctor`` use."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import onnx
import onnxruntime
from fgdm import machine
from polygraphy.backend.base import BaseRunner
from polygraphy.backend.onnxrt import OnnxrtRunner
from polygraphy.logger import G_LOGGER

from ..errors import ExportError
from .inputs import Feed

#: Makes a runner of a model whose weights lie in a folder; the feeds are what it will be given.
Runtime = Callable[[onnx.ModelProto, Path, Sequence[Feed]], BaseRunner]

#: Providers that are part of ONNX Runtime's own wheels.
_PROVIDERS = {"cuda": "CUDAExecutionProvider", "openvino": "OpenVINOExecutionProvider"}
#: So that float32 is compared with float32; see docs/runtimes.md, "Precision".
_EXACT = {
    "CUDAExecutionProvider": {"use_tf32": "0"},
    "OpenVINOExecutionProvider": {
        "device_type": "CPU",
        "load_config": json.dumps({"CPU": {"INFERENCE_PRECISION_HINT": "f32"}}),
    },
}
#: A plugin's devices are its own choice.
_EXACT_PLUGINS = {"openvino": {"load_config": _EXACT["OpenVINOExecutionProvider"]["load_config"]}}

# Which inputs it gives and which outputs it gets, for every call.
G_LOGGER.module_severity = G_LOGGER.ERROR

NAMES = ("cpu", "plain", "cuda", "openvino", "tensorrt", "tensorrt-rtx", "webgpu")


def find(name: str) -> Runtime:
    """A runtime of `NAMES`. "plain" is ONNX Runtime's CPU provider with every optimisation off.

    Raises:
        ExportError: it isn't installed; the message says what to install.
    """
    if name == "cpu":
        return _on_providers("cpu", ["CPUExecutionProvider"])
    if name == "plain":
        return _on_providers("plain", ["CPUExecutionProvider"], optimised=False)
    if name == "tensorrt":
        return _tensorrt()
    provider = _PROVIDERS.get(name, "")
    if provider in onnxruntime.get_available_providers():
        return _on_providers(name, [(provider, _EXACT[provider])])
    return _on_plugin(name)


def _options(folder: Path, optimised: bool = True) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = (
        levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    )
    options.log_severity_level = 3
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(folder)
    )
    return options


def _on_providers(name: str, providers: Sequence[object], *, optimised: bool = True) -> Runtime:
    def runner(model: onnx.ModelProto, folder: Path, _: Sequence[Feed]) -> BaseRunner:
        return OnnxrtRunner(
            lambda: onnxruntime.InferenceSession(
                model.SerializeToString(), _options(folder, optimised), providers=providers
            ),
            name=name,
        )

    return runner


def _on_plugin(name: str) -> Runtime:
    plugins = [plugin for plugin in machine.find_plugins() if plugin.backend == name]
    if not plugins:
        raise ExportError(
            f"no {name} is installed for ONNX Runtime {onnxruntime.__version__} in this Python; "
            "docs/runtimes.md says which package brings it"
        )
    plugin = plugins[0]
    machine.prepare_plugin(plugin)
    onnxruntime.register_execution_provider_library(plugin.package, plugin.library)
    devices = [one for one in onnxruntime.get_ep_devices() if _backend(one.ep_name) == name]
    if not devices:
        raise ExportError(f"{plugin.package} {plugin.version} offers no device on this machine")

    def runner(model: onnx.ModelProto, folder: Path, _: Sequence[Feed]) -> BaseRunner:
        def session() -> onnxruntime.InferenceSession:
            options = _options(folder)
            options.add_provider_for_devices(devices[:1], _EXACT_PLUGINS.get(name, {}))
            return onnxruntime.InferenceSession(model.SerializeToString(), options)

        return OnnxrtRunner(session, name=name)

    return runner


def _backend(provider: str) -> str:
    """`NvTensorRTRTXExecutionProvider` is "tensorrt-rtx", as `machine.Plugin.backend` has it."""
    names = {"nvtensorrtrtx": "tensorrt-rtx"}
    short = provider.removesuffix("ExecutionProvider").lower()
    return names.get(short, short)


def _tensorrt() -> Runtime:
    try:
        import_module("tensorrt")
    except ImportError as error:
        raise ExportError(
            f"tensorrt can't be imported ({error}); run: pip install 'fgdm[tensorrt]'"
        ) from error
    trt = import_module("polygraphy.backend.trt")

    def runner(model: onnx.ModelProto, folder: Path, feeds: Sequence[Feed]) -> BaseRunner:
        def engine() -> object:
            with tempfile.TemporaryDirectory() as place:
                # The parser looks for weights beside the graph.
                for entry in folder.iterdir():
                    Path(place, entry.name).symlink_to(entry.resolve())
                file = Path(place, "compared.onnx")
                onnx.save(model, file)
                network = trt.NetworkFromOnnxPath(str(file), strongly_typed=True)
                config = trt.CreateConfig(profiles=[_profile(trt.Profile(), feeds)], tf32=False)
                return trt.engine_from_network(network, config=config)

        return trt.TrtRunner(engine, name="tensorrt")

    return runner


def _profile(profile: object, feeds: Sequence[Feed]) -> object:
    """The smallest and largest shapes of each input."""
    for name in feeds[0]:
        shapes = [feed[name].shape for feed in feeds]
        least = tuple(map(min, zip(*shapes, strict=True)))
        most = tuple(map(max, zip(*shapes, strict=True)))
        profile.add(name, min=least, opt=most, max=most)  # type: ignore[attr-defined]
    return profile
