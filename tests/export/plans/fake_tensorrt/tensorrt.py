"""A stand-in for the package `tensorrt`, which can't be had without a GPU's libraries.

It has the part of the API that export/plans uses, in the shape of the 10.x documentation. Its plan
is JSON that tells what it was built from. The variable FAKE_TENSORRT holds a JSON object that
makes it slow, fail, die or run out of space.
"""

from __future__ import annotations

import enum
import errno
import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx

__version__ = "10.13.0.35"
_BEHAVIOUR: dict[str, Any] = json.loads(os.environ.get("FAKE_TENSORRT", "{}"))
_TYPES = {1: "FLOAT", 7: "INT64", 9: "BOOL", 10: "HALF"}
_LIBRARIES: list[str] = []


def _full(fd: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Severity(enum.IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class ILogger:
    Severity = Severity


class IProgressMonitor:
    pass


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class BuilderFlag(enum.Enum):
    TF32 = 7


class ProfilingVerbosity(enum.Enum):
    DETAILED = 2


class LayerInformationFormat(enum.Enum):
    JSON = 1


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class Network:
    def __init__(self, flags: int) -> None:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        self.model = onnx.ModelProto()

    @property
    def num_inputs(self) -> int:
        return len(self.model.graph.input)

    def get_input(self, index: int) -> Any:
        return self.model.graph.input[index]


class OnnxParser:
    def __init__(self, network: Network, log: Any) -> None:
        self.network, self.log = network, log
        self.num_errors = 0

    def parse(self, model: bytes, path: str) -> bool:
        self.network.model = onnx.load_from_string(model)
        for tensor in self.network.model.graph.initializer:
            place = {entry.key: entry.value for entry in tensor.external_data}
            file = Path(path).parent / place["location"]
            assert file.stat().st_size >= int(place["offset"]) + int(place["length"])
        if "parse_error" in _BEHAVIOUR:
            self.num_errors = 1
        return not self.num_errors

    def get_error(self, index: int) -> Any:
        return SimpleNamespace(
            desc=lambda: _BEHAVIOUR["parse_error"],
            node_name=lambda: "/mid_block/conv",
            node_operator=lambda: "Conv",
        )


class Profile:
    extra_memory_target = 1.0

    def __init__(self) -> None:
        self.shapes: dict[str, Any] = {}

    def set_shape(self, name: str, least: Any, optimal: Any, largest: Any) -> None:
        self.shapes[name] = [list(least), list(optimal), list(largest)]


class TimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content + b"timed;"


class Config:
    progress_monitor: Any
    profiling_verbosity: Any

    def __init__(self) -> None:
        self.profiles: list[Profile] = []
        self.cache = TimingCache(b"")
        self.flags = {BuilderFlag.TF32}  # as in the runtimes, where nobody asked for it

    def set_flag(self, flag: BuilderFlag) -> None:
        self.flags.add(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.flags.discard(flag)

    def add_optimization_profile(self, profile: Profile) -> None:
        self.profiles.append(profile)

    def create_timing_cache(self, content: bytes) -> TimingCache:
        return TimingCache(content)

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        if cache.content.startswith(b"another driver"):
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> TimingCache:
        return self.cache


class Builder:
    def __init__(self, log: Any) -> None:
        self.log = log

    def create_network(self, flags: int) -> Network:
        return Network(flags)

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        if _BEHAVIOUR.get("no_space"):
            os.fsync = _full  # here, and not on import, which the tests' own process does too
        steps = _BEHAVIOUR.get("steps", 4)
        config.progress_monitor.phase_start("Building engine", None, steps)
        for step in range(steps):
            time.sleep(_BEHAVIOUR.get("step_seconds", 0))
            if _BEHAVIOUR.get("die"):
                os.kill(os.getpid(), signal.SIGKILL)
            if not config.progress_monitor.step_complete("Building engine", step):
                return None
        config.progress_monitor.phase_finish("Building engine")
        if "build_error" in _BEHAVIOUR:
            self.log.log(Severity.ERROR, _BEHAVIOUR["build_error"])
            return None
        graph = network.model.graph
        tensors = [
            {"name": value.name, "is_input": values is graph.input, **_type(value)}
            for values in (graph.input, graph.output)
            for value in values
        ]
        plan = {
            "tensors": tensors,
            "profiles": [profile.shapes for profile in config.profiles],
            "extra_memory": [profile.extra_memory_target for profile in config.profiles],
            "nodes": [node.op_type for node in graph.node],
            "functions": [function.name for function in network.model.functions],
            "libraries": _LIBRARIES,
            "flags": [flag.name for flag in config.flags],
        }
        return json.dumps(plan).encode()


def _type(value: Any) -> dict[str, Any]:
    tensor = value.type.tensor_type
    shape = [size.dim_value or -1 for size in tensor.shape.dim]
    return {"dtype": _BEHAVIOUR.get("dtype", _TYPES[tensor.elem_type]), "shape": shape}


class Engine:
    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.tensors: dict[str, dict[str, Any]] = {
            tensor["name"]: tensor for tensor in plan["tensors"]
        }
        self.num_io_tensors = len(self.tensors)

    def create_engine_inspector(self) -> Engine:
        return self

    def get_engine_information(self, form: LayerInformationFormat) -> str:
        layers = [
            {"Name": f"layer {i}", "LayerType": "kgen", "Metadata": f"[ONNX Layer: /{name}]"}
            for i, name in enumerate(self.plan["nodes"])
        ]
        return json.dumps({"Layers": layers})

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if self.tensors[name]["is_input"] else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> str:
        return f"DataType.{self.tensors[name]['dtype']}"

    def get_tensor_shape(self, name: str) -> list[int]:
        return list(self.tensors[name]["shape"])

    def get_tensor_profile_shape(self, name: str, profile: int) -> Any:
        return self.plan["profiles"][profile][name]


class Runtime:
    def __init__(self, log: Any) -> None:
        pass

    def deserialize_cuda_engine(self, data: Any) -> Engine:
        return Engine(json.loads(bytes(data)))


class Registry:
    def load_library(self, path: str) -> object:
        _LIBRARIES.append(path)
        return object()

    def get_creator(self, name: str, version: str, namespace: str) -> object | None:
        held = [Path(path).read_text().strip() for path in _LIBRARIES]
        return object() if f"{namespace}::{name} {version}" in held else None


def get_plugin_registry() -> Registry:
    return Registry()


def init_libnvinfer_plugins(log: Any, namespace: str) -> bool:
    return True
