"""One graph compiled with TensorRT or TensorRT-RTX, whose Python APIs agree in all used here."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ExportError
from .description import Description, check, from_engine, from_log
from .graph_file import graph_bytes
from .monitor import make_monitor


class Stopped(Exception):
    """The build was stopped through its progress monitor."""


@dataclass(frozen=True)
class Compiled:
    """A plan. data: its bytes, as a buffer.

    checked: "deserialised" if the plan itself was asked for its inputs, outputs and profiles,
    "described" if only the builder's description of it was.
    """

    data: Any
    description: Description
    checked: str
    timing_cache: bytes | None


def compile_plan(
    trt: Any,
    bundle: Path,
    covers: Mapping[str, Any],
    *,
    plugin: Path | None = None,
    timing_cache: bytes | None = None,
    deserialise: bool = False,
    advance: Callable[[float], None] = lambda fraction: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Compiled:
    """Compiles what an order covers, with the module `trt`.

    plugin: a library that holds the op's plugin. timing_cache: one that an earlier build returned;
    b"" to begin one, None to keep none. deserialise: whether this machine can load the plan.

    Raises:
        ExportError: the graph can't be parsed or built, or the plan isn't what was ordered.
        Stopped: `stopped` answered True.
    """
    log = _make_log(trt)
    if plugin is not None:
        _load_plugin(trt, log, plugin, covers["plugin"])
    builder = trt.Builder(log)
    network, _parser = _parse(trt, builder, log, bundle, covers)
    config = builder.create_builder_config()
    _configure(trt, builder, config, network, covers)
    if timing_cache is not None:
        _use_timing_cache(config, timing_cache)
    monitor = make_monitor(trt, advance, stopped)
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if stopped():
        raise Stopped
    if plan is None:
        raise ExportError(f"{trt.__name__} can't build {covers['graph_file']}: {log.failure()}")
    cache = None if timing_cache is None else bytes(config.get_timing_cache().serialize())
    data = memoryview(plan)
    description, checked = _describe(trt, log, data, covers, deserialise)
    check(description, covers)
    return Compiled(data, description, checked, cache)


def _make_log(trt: Any) -> Any:
    class Log(trt.ILogger):  # type: ignore[misc]
        """Keeps errors and the list of layers; silent otherwise."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.engine = ""

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                self.errors.append(message)
            elif message.startswith("Layers:") and "IOMode:" in message:
                self.engine = message

        def failure(self) -> str:
            return "; ".join(self.errors[-3:]) or "the builder gave no reason"

    return Log()


def _load_plugin(trt: Any, log: Any, library: Path, plugin: Mapping[str, str]) -> None:
    registry = trt.get_plugin_registry()
    trt.init_libnvinfer_plugins(log, "")
    handle = registry.load_library(str(library))
    if handle is None:
        raise ExportError(f"{library} can't be loaded as a plugin library: {log.failure()}")
    creator = registry.get_creator(plugin["name"], plugin["version"], plugin["namespace"])
    if creator is None:
        raise ExportError(
            f"{library} holds no plugin {plugin['namespace']}::{plugin['name']} version "
            f"{plugin['version']}, which the graph needs; use the library of the same fgdm release"
        )


def _parse(
    trt: Any, builder: Any, log: Any, bundle: Path, covers: Mapping[str, Any]
) -> tuple[Any, Any]:
    """The network and its parser, which must live as long: it holds the weights."""
    strongly_typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if strongly_typed is None else 1 << int(strongly_typed))
    parser = trt.OnnxParser(network, log)
    path = bundle / covers["graph_file"]
    model = graph_bytes(path, strip_op=covers["segfree_attention"] == "plugin")
    # The parser looks for weight files beside the path that it is told.
    if not parser.parse(model, os.fspath(path.absolute())):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        reasons = "; ".join(_parse_error(error) for error in errors[:3]) or log.failure()
        raise ExportError(f"{trt.__name__} can't parse {covers['graph_file']}: {reasons}")
    return network, parser


def _parse_error(error: Any) -> str:
    return f"node {error.node_name() or '?'} ({error.node_operator() or '?'}): {error.desc()}"


def _configure(
    trt: Any, builder: Any, config: Any, network: Any, covers: Mapping[str, Any]
) -> None:
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    # Both runtimes set it by default, for strongly typed networks too: float32 products would be
    # computed with 11 bits.
    if covers["tf32"]:
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
    if covers["target"] == "tensorrt-rtx":
        config.num_compute_capabilities = len(covers["gpus"])
        for index, gpu in enumerate(covers["gpus"]):
            capability = getattr(trt.ComputeCapability, gpu.replace("_", "").upper())
            config.set_compute_capability(capability, index)
    names = {network.get_input(index).name for index in range(network.num_inputs)}
    for index in range(len(covers["profiles"])):
        profile = builder.create_optimization_profile()
        if index > 0:
            profile.extra_memory_target = 0.0  # no weights of its own beside the first one's
        for item in covers["inputs"]:
            shape = item["shapes"][index]
            if item["name"] in names:
                profile.set_shape(item["name"], shape, shape, shape)
        config.add_optimization_profile(profile)


def _use_timing_cache(config: Any, content: bytes) -> None:
    """Gives a build the timings of earlier ones, or an empty cache if another driver wrote them."""
    for candidate in (content, b""):
        cache = config.create_timing_cache(candidate)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return


def _describe(
    trt: Any, log: Any, data: Any, covers: Mapping[str, Any], deserialise: bool
) -> tuple[Description, str]:
    if deserialise:
        engine = trt.Runtime(log).deserialize_cuda_engine(data)
        if engine is None:
            raise ExportError(
                f"the plan of {covers['graph']} can't be loaded back: {log.failure()}"
            )
        return from_engine(trt, engine, len(covers["profiles"])), "deserialised"
    runtime = trt.Runtime(log)
    _, problems = runtime.get_engine_validity(data[: runtime.engine_header_size])
    if problems & int(trt.EngineInvalidityDiagnostics.MALFORMED_ENGINE):
        raise ExportError(f"the plan of {covers['graph']} is malformed: {log.failure()}")
    if not log.engine:
        raise ExportError(
            f"{trt.__name__} {trt.__version__} doesn't describe the plan of {covers['graph']}, so "
            "it can't be checked on a machine without its GPU; build it on one that has it"
        )
    return from_log(log.engine), "described"
