"""What this machine has: runtimes, processor features, GPUs, compilers, Python packages.

Looks without importing a runtime. Nothing here raises because something is missing.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fgdm.errors import Error

_COMMAND_SECONDS = 15
_FEATURES = (
    *("avx2", "f16c", "fma", "avx512f", "avx512_vnni", "avx512_bf16"),
    *("amx_tile", "amx_bf16", "amx_int8"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve"),
)
#: What the CUDA provider is linked against, in an order in which each finds what it needs.
_CUDA_LIBRARIES = (
    *("libcudart", "libnvrtc", "libnvJitLink", "libcublasLt", "libcublas"),
    *("libcufft", "libcurand", "libcudnn"),
)
_CUDA_PROVIDER = "libonnxruntime_providers_cuda.so"
_PROVIDER = re.compile(r"libonnxruntime_providers_(\w+?)(?:_plugin)?\.so")
#: Wheels with a plugin of ONNX Runtime, and the first version that takes plugins.
_PLUGIN_WHEELS = "onnxruntime-ep-"
_PLUGIN_RUNTIME = (1, 23)
#: Backends that a plugin's library is called otherwise than.
_PLUGIN_BACKENDS = {"nv_tensorrt_rtx": "tensorrt-rtx"}


@dataclass(frozen=True)
class Runtime:
    """An installed ONNX Runtime wheel.

    library: path of its libonnxruntime, None if the wheel holds none.
    providers: "cpu" and those whose libraries it brings along, such as "cuda" or "openvino".
    """

    package: str
    version: str
    library: str | None
    providers: tuple[str, ...]


@dataclass(frozen=True)
class Plugin:
    """An installed wheel with an execution provider that ONNX Runtime loads at run time.

    library: path of the provider's library. backend: "openvino", "cuda", "tensorrt-rtx" or
    "webgpu", else the library's own word.
    """

    package: str
    version: str
    library: str
    backend: str


@dataclass(frozen=True)
class Device:
    """A device as an execution provider of ONNX Runtime offers it.

    provider: the runtime's name for it, such as "OpenVINOExecutionProvider". version: the
    plugin's. kind: "CPU", "GPU", "NPU" or "other". What a plugin doesn't tell is "".
    """

    provider: str
    vendor: str
    version: str
    kind: str
    name: str


@dataclass(frozen=True)
class Processor:
    """The CPU; features: those that matter to us, as the kernel names them."""

    model: str
    cores: int
    features: tuple[str, ...]

    @property
    def bfloat16(self) -> bool:
        """Whether bfloat16 gains something: it multiplies tiles of it (docs/precision.md)."""
        return "amx_bf16" in self.features


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU; memory, driver and compute_capability as nvidia-smi says, "" without it."""

    name: str
    memory: str
    driver: str
    compute_capability: str


@dataclass(frozen=True)
class PlanRuntime:
    """A runtime of compiled plans: the Python packages and shared libraries that hold it."""

    target: str
    packages: tuple[str, ...]
    libraries: tuple[str, ...]


PLAN_RUNTIMES = (
    PlanRuntime(
        "tensorrt",
        ("tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
        ("libnvinfer.so.11", "libnvinfer.so.10", "libnvinfer.so.8", "libnvinfer.so"),
    ),
    PlanRuntime(
        "tensorrt-rtx",
        ("tensorrt-rtx", "tensorrt-rtx-cu12", "tensorrt-rtx-cu13"),
        ("libtensorrt_rtx.so.1", "libtensorrt_rtx.so"),
    ),
)


def find_runtimes() -> tuple[Runtime, ...]:
    """Every installed distribution called onnxruntime or onnxruntime-<variant>; no plugins."""
    found: dict[str, Runtime] = {}
    for name, distribution in _onnxruntime_wheels():
        if not name.startswith(_PLUGIN_WHEELS):
            found.setdefault(name, _runtime(name, distribution))
    return tuple(found[name] for name in sorted(found))


def _wheels(prefix: str) -> Iterator[tuple[str, importlib.metadata.Distribution]]:
    """Installed distributions whose names begin so, in the order of sys.path.

    Chosen by the names of their folders: to read all metadata takes as long as to open a small
    bundle.
    """
    for place in dict.fromkeys(sys.path):
        for folder in sorted(Path(place or ".").glob(f"{prefix}*-info")):
            distribution = importlib.metadata.Distribution.at(folder)
            yield str(distribution.metadata["Name"] or "").lower().replace("_", "-"), distribution


def _onnxruntime_wheels() -> Iterator[tuple[str, importlib.metadata.Distribution]]:
    """Those called onnxruntime or onnxruntime-<variant>."""
    for name, distribution in _wheels("onnxruntime"):
        if name == "onnxruntime" or name.startswith("onnxruntime-"):
            yield name, distribution


def find_plugins() -> tuple[Plugin, ...]:
    """The plugins of ONNX Runtime in installed wheels called onnxruntime-ep-<variant>."""
    found: dict[str, Plugin] = {}
    for name, distribution in _onnxruntime_wheels():
        if not name.startswith(_PLUGIN_WHEELS):
            continue
        for file in distribution.files or ():
            match = _PROVIDER.fullmatch(file.name)
            path = Path(str(distribution.locate_file(file)))
            if match and path.is_file():
                backend = _PLUGIN_BACKENDS.get(match[1], match[1])
                found.setdefault(name, Plugin(name, distribution.version, str(path), backend))
    return tuple(found[name] for name in sorted(found))


def takes_plugins(runtime: Runtime) -> bool:
    """Whether an installed runtime loads plugins: ONNX Runtime 1.23 and later do."""
    numbers = re.findall(r"\d+", runtime.version)[:2]
    return runtime.library is not None and tuple(map(int, numbers)) >= _PLUGIN_RUNTIME


def prepare_plugin(plugin: Plugin) -> None:
    """Makes ready what a plugin's library is linked against.

    TensorRT-RTX's wheel holds its libraries under names that the loader doesn't look for; importing
    the package makes the others. It imports onnxruntime, whose reports fgdm never asks for.
    """
    if plugin.backend == "tensorrt-rtx":
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        importlib.import_module(Path(plugin.library).parent.name)


def plugin_devices(
    library: str, plugins: Sequence[Plugin]
) -> tuple[tuple[Device, ...], tuple[str, ...]]:
    """What the plugins offer when a libonnxruntime has loaded them, and why others offer nothing.

    Never raises: that there is no core, or no runtime, is a problem too.
    """
    problems = []
    for plugin in plugins:
        try:
            prepare_plugin(plugin)
        except (ImportError, OSError) as error:
            problems.append(f"{plugin.package}: {error}")
    try:
        core = importlib.import_module("fgdm._core")
        devices, refused = core.runtime_devices(library, [plugin.library for plugin in plugins])
    except (ImportError, Error) as error:
        return (), (*problems, str(error))
    offered = (Device(*words) for words in devices)
    own = "CPUExecutionProvider"
    return tuple(device for device in offered if device.provider != own), (*problems, *refused)


def _runtime(name: str, distribution: importlib.metadata.Distribution) -> Runtime:
    """Of the wheels' common folder onnxruntime/capi, only the files that this wheel brought."""
    library, providers = None, set()
    for file in distribution.files or ():
        path = Path(str(distribution.locate_file(file)))
        if file.parent.name != "capi" or not path.is_file():
            continue
        if file.name.startswith("libonnxruntime.so"):
            library = str(path)
            providers.add("cpu")
        match = _PROVIDER.fullmatch(file.name)
        if match and match[1] != "shared":
            providers.add(match[1])
    return Runtime(name, distribution.version, library, tuple(sorted(providers)))


def choose_library(
    runtimes: Sequence[Runtime], backend: str, plugins: Sequence[Plugin] = ()
) -> str:
    """The path of the libonnxruntime that serves a backend best; "" if no wheel holds one.

    "auto" prefers a runtime with CUDA, then one with OpenVINO, then any. A plugin serves as well as
    a runtime that has the provider inside, which comes first.
    """
    wanted = ["cuda", "openvino", "cpu"] if backend == "auto" else [backend, "cpu"]
    for provider in wanted:
        for runtime in runtimes:
            if provider in runtime.providers and runtime.library is not None:
                return runtime.library
        if any(plugin.backend == provider for plugin in plugins):
            for runtime in filter(takes_plugins, runtimes):
                return str(runtime.library)
    return ""


def choose_plugins(plugins: Sequence[Plugin], backend: str) -> list[Plugin]:
    """Those that a backend may need; "auto" may need CUDA's and OpenVINO's."""
    wanted = {"cuda", "openvino"} if backend == "auto" else {backend}
    return [plugin for plugin in plugins if plugin.backend in wanted]


def provides_cuda(library: str) -> bool:
    """Whether a libonnxruntime has the CUDA provider's library beside it; not if it is ""."""
    return bool(library) and Path(library).with_name(_CUDA_PROVIDER).is_file()


def open_cuda_libraries() -> None:
    """Opens the CUDA libraries of installed nvidia-* wheels, those that others need first.

    They lie out of the loader's sight; once open, ONNX Runtime's CUDA provider finds them. Without
    such wheels the provider takes the system's.
    """
    installed = list(_versioned_libraries("nvidia"))
    for library in _CUDA_LIBRARIES:
        for name, path in installed:
            if name.startswith(f"{library}.so."):
                loadable([path])


def _versioned_libraries(prefix: str) -> Iterator[tuple[str, str]]:
    """Names and paths of the shared libraries with a version, such as libcudart.so.13, in the
    wheels whose names begin with `prefix`."""
    for _, distribution in _wheels(prefix):
        for file in distribution.files or ():
            if ".so." in file.name:
                yield file.name, str(distribution.locate_file(file))


def find_processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> Processor:
    """Model and features from the kernel's cpuinfo file."""
    fields: dict[str, str] = {}
    try:
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    flags = set((fields.get("flags", "") + " " + fields.get("Features", "")).split())
    features = tuple(name for name in _FEATURES if name in flags)
    model = fields.get("model name") or platform.machine()
    return Processor(model, os.cpu_count() or 1, features)


def find_gpus(driver_folder: Path = Path("/proc/driver/nvidia/gpus")) -> tuple[Gpu, ...]:
    """NVIDIA GPUs from nvidia-smi, or from the kernel driver's own files without it."""
    query = "--query-gpu=name,memory.total,driver_version,compute_cap"
    table = output_of(["nvidia-smi", query, "--format=csv,noheader"])
    if table is not None:
        rows = [[cell.strip() for cell in line.split(",")] for line in table.splitlines()]
        return tuple(Gpu(*row) for row in rows if len(row) == 4)
    gpus = []
    for path in sorted(driver_folder.glob("*/information")):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        model = re.search(r"^Model:\s*(.+)$", text, re.MULTILINE)
        gpus.append(Gpu(model[1].strip() if model else "unknown", "", "", ""))
    return tuple(gpus)


def loadable(names: Sequence[str]) -> str | None:
    """The first of these shared libraries that the loader finds and can load; "" is skipped."""
    for name in filter(None, names):  # the loader takes "" for the program itself
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return name
    return None


def tool_version(command: str) -> str | None:
    """The version that `command --version` reports, None without such a command."""
    output = output_of([command, "--version"])
    if output is None:
        return None
    release = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", output)
    return release[1] if release else "unknown version"


def package_version(name: str) -> str | None:
    """The version of an installed Python package, which isn't imported."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def plan_runtime_version(runtime: PlanRuntime) -> str | None:
    """The installed version of a plan runtime: its package's, else what its library says."""
    for package in runtime.packages:
        version = package_version(package)
        if version is not None:
            return version
    library = loadable(runtime.libraries)
    if library is None:
        return None
    number = int(ctypes.CDLL(library).getInferLibVersion())
    major, rest = divmod(number, 10000 if number >= 10000 else 1000)  # 8601 was 8.6.1
    return f"{major}.{rest // 100}.{rest % 100}"


def find_tensorrt() -> str:
    """The path of the libnvinfer in an installed wheel that suits the core; "" if there is none.

    The wheels keep it in a package of its own, out of the loader's sight.
    """
    major = core_tensorrt().partition(".")[0]
    if not major:
        return ""
    wanted = f"libnvinfer.so.{major}"
    return next((path for name, path in _versioned_libraries("tensorrt") if name == wanted), "")


def find_kernels() -> str:
    """The path of fgdm's CUDA kernels that the core would open."""
    beside_the_core = Path(__file__).with_name("libfgdm_kernels.so")
    return os.environ.get("FGDM_KERNELS") or str(beside_the_core)


def core_tensorrt() -> str:
    """The TensorRT version whose headers the core was built with; "" without such a core."""
    try:
        return str(importlib.import_module("fgdm._core").tensorrt_headers())
    except (ImportError, AttributeError):  # none, or one from before it had a say in this
        return ""


def attention_kernel() -> str:
    """The core's kernel for ``fgdm::SegFreeAttention`` on this processor; "" without a core."""
    try:
        return str(importlib.import_module("fgdm._core").processor_attention())
    except (ImportError, AttributeError):  # none, or one from before it had a kernel
        return ""


def core_problem() -> str | None:
    """Why the compiled core can't be imported; None if it can."""
    try:
        importlib.import_module("fgdm._core")
    except ImportError as error:
        return str(error)
    return None


def output_of(command: list[str]) -> str | None:
    """What a command prints; None if it is absent, fails or takes too long."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=_COMMAND_SECONDS,
            check=True,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
