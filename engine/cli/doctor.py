"""``fgdm doctor``: what this machine can do, what is missing for the rest, and how to get it."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from fgdm import __version__, machine

EPILOG = """\
examples:
  fgdm doctor
  fgdm doctor --json
"""

_CUDA_DRIVER = ["libcuda.so.1"]
_TENSORRT, _TENSORRT_RTX = machine.PLAN_RUNTIMES
_TENSORRT_PACKAGES = [*_TENSORRT.packages, *_TENSORRT_RTX.packages]
_EXPORT_PACKAGES = [
    *("torch", "diffusers", "transformers", "onnx", "onnxscript", "inflect", "jsonschema"),
]
_BUILD_PACKAGES = ["onnx", "jsonschema"]
_TRAIN_PACKAGES = ["torch", "diffusers", "transformers", "tokenizers", "safetensors"]
_TOOLS = ["g++", "cmake", "nvcc"]


@dataclass(frozen=True)
class Machine:
    """Everything that was looked for. Versions are None where a thing is absent.

    core_problem: why the compiled core can't be loaded, None if it can.
    core_tensorrt: the version of TensorRT's headers that it was built with, "" if it was without.
    attention: the core's kernel for ``fgdm::SegFreeAttention`` on this processor, "" without one.
    plugins: of ONNX Runtime, in wheels of their own. devices: what they offer, as the first runtime
    that takes plugins lists it. plugin_problems: why others offer nothing.
    libraries: by purpose, the name under which a shared library could be loaded.
    """

    version: str
    python: str
    system: str
    core_problem: str | None
    core_tensorrt: str
    attention: str
    runtimes: tuple[machine.Runtime, ...]
    plugins: tuple[machine.Plugin, ...]
    devices: tuple[machine.Device, ...]
    plugin_problems: tuple[str, ...]
    processor: machine.Processor
    gpus: tuple[machine.Gpu, ...]
    libraries: dict[str, str | None]
    tools: dict[str, str | None]
    packages: dict[str, str | None]

    def provides(self, provider: str) -> bool:
        """Whether an installed runtime has this execution provider, or takes its plugin."""
        return any(provider in runtime.providers for runtime in self.runtimes) or (
            any(plugin.backend == provider for plugin in self.plugins)
            and any(map(machine.takes_plugins, self.runtimes))
        )


@dataclass(frozen=True)
class Capability:
    """Something fgdm can do here, or what is missing for it and the commands that help."""

    name: str
    missing: tuple[str, ...]
    commands: tuple[str, ...]

    @property
    def ready(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing


def look() -> Machine:
    """Looks at this machine. Loads the CUDA and TensorRT libraries if they are there, and the
    plugins of ONNX Runtime into it."""
    machine.open_cuda_libraries()
    runtimes, plugins = machine.find_runtimes(), machine.find_plugins()
    devices, problems = _plugin_devices(runtimes, plugins)
    names = sorted({*_EXPORT_PACKAGES, *_TRAIN_PACKAGES, *_TENSORRT_PACKAGES})
    return Machine(
        version=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}",
        core_problem=machine.core_problem(),
        core_tensorrt=machine.core_tensorrt(),
        attention=machine.attention_kernel(),
        runtimes=runtimes,
        plugins=plugins,
        devices=devices,
        plugin_problems=problems,
        processor=machine.find_processor(),
        gpus=machine.find_gpus(),
        libraries={
            "CUDA driver": machine.loadable(_CUDA_DRIVER),
            "cuDNN": machine.loadable(["libcudnn.so.9"]),
            "CUDA kernels": machine.loadable([machine.find_kernels()]),
            "TensorRT": machine.loadable([*_TENSORRT.libraries, machine.find_tensorrt()]),
            "TensorRT-RTX": machine.loadable(_TENSORRT_RTX.libraries),
        },
        tools={name: machine.tool_version(name) for name in _TOOLS},
        packages={name: machine.package_version(name) for name in names},
    )


def _plugin_devices(
    runtimes: tuple[machine.Runtime, ...], plugins: tuple[machine.Plugin, ...]
) -> tuple[tuple[machine.Device, ...], tuple[str, ...]]:
    if not plugins:
        return (), ()
    takers = [runtime for runtime in runtimes if machine.takes_plugins(runtime)]
    if not takers:
        return (), ("plugins need ONNX Runtime 1.23 or newer: pip install -U onnxruntime",)
    return machine.plugin_devices(str(takers[0].library), plugins)


def capabilities(here: Machine) -> list[Capability]:
    """What fgdm can do on a machine, `generate on CPU` first."""
    core = _need(here.core_problem is None, "the compiled core", "pip install .")
    cpu = _need(here.provides("cpu"), "ONNX Runtime", "pip install onnxruntime")
    # On a processor that gains nothing by it nobody need install a runtime for it.
    openvino = _need(
        here.provides("openvino") or not here.processor.bfloat16,
        "ONNX Runtime with OpenVINO",
        "pip install 'fgdm[openvino]'",
    )
    bfloat16 = _need(
        here.processor.bfloat16, "a processor with AMX (others gain nothing by bfloat16)"
    )
    gpu = _need(bool(here.gpus), "an NVIDIA GPU")
    driver = _need(here.libraries["CUDA driver"] is not None, "the NVIDIA driver (libcuda.so.1)")
    kernels = _need(
        here.libraries["CUDA kernels"] is not None,
        "fgdm's CUDA kernels",
        "pip install . -C cmake.define.FGDM_CUDA=ON",
    )
    cuda = _need(
        here.provides("cuda"),
        "ONNX Runtime with CUDA",
        "pip uninstall -y onnxruntime && pip install 'onnxruntime-gpu[cuda,cudnn]'",
    )
    cudnn = _need(
        here.libraries["cuDNN"] is not None,
        "cuDNN 9",
        "pip install 'onnxruntime-gpu[cuda,cudnn]'",
    )
    rtx = _need(
        here.provides("tensorrt-rtx"),
        "ONNX Runtime with TensorRT-RTX's plugin",
        "pip install 'onnxruntime>=1.24' onnxruntime-ep-nv-tensorrt-rtx",
    )
    backend = _need(
        bool(here.core_tensorrt),
        "a core built with TensorRT's headers",
        "pip install . -C cmake.define.FGDM_TENSORRT_INCLUDE=/path/to/TensorRT/include",
    )
    library = _need(
        here.libraries["TensorRT"] is not None, "TensorRT", "pip install 'fgdm[tensorrt]'"
    )
    tensorrt = _need(
        any(here.packages[name] for name in _TENSORRT_PACKAGES),
        "TensorRT or TensorRT-RTX for Python",
        "pip install 'fgdm[tensorrt-rtx]'",
    )
    compilers = [
        _need(here.tools[name] is not None, name, f"apt-get install {package}")
        for name, package in (("g++", "g++"), ("cmake", "cmake"))
    ]
    nvcc = _need(here.tools["nvcc"] is not None, "nvcc (the CUDA toolkit)")
    return [
        _capability("generate on CPU", core, cpu),
        _capability("generate on CPU in bfloat16", core, openvino, bfloat16),
        _capability("generate with CUDA", core, cuda, cudnn, gpu, driver),
        _capability("generate with TensorRT", core, backend, library, gpu, driver),
        _capability("generate with TensorRT-RTX", core, rtx, gpu, driver),
        _capability("keep rows on the GPU between graphs", core, kernels, gpu, driver),
        _capability("build the core from source", *compilers),
        _capability("build the CUDA kernels", *compilers, nvcc),
        _capability("export bundles", cpu, _packages(here, _EXPORT_PACKAGES, "export")),
        _capability("build TensorRT plans", tensorrt, _packages(here, _BUILD_PACKAGES, "build")),
        _capability("train", _packages(here, _TRAIN_PACKAGES, "train")),
    ]


#: What one requirement lacks: its name and a command that gets it; both empty if it is met.
_Need = tuple[tuple[str, ...], tuple[str, ...]]


def _need(met: bool, what: str, command: str | None = None) -> _Need:
    if met:
        return (), ()
    return (what,), () if command is None else (command,)


def _packages(here: Machine, names: list[str], extra: str) -> _Need:
    absent = tuple(f"Python package {name}" for name in names if here.packages[name] is None)
    return absent, (f"pip install 'fgdm[{extra}]'",) if absent else ()


def _capability(name: str, *needs: _Need) -> Capability:
    missing = tuple(what for whats, _ in needs for what in whats)
    commands = tuple(command for _, commands in needs for command in commands)
    return Capability(name, missing, commands)


def report(here: Machine) -> dict[str, object]:
    """The machine and its capabilities, ready for ``json.dumps``."""
    able = capabilities(here)
    return {
        **asdict(here),
        "capabilities": [{**asdict(item), "ready": item.ready} for item in able],
        "can_generate": able[0].ready,
    }


def lines(here: Machine) -> Iterator[str]:
    """The same for a person to read."""
    yield f"fgdm {here.version}, Python {here.python}, {here.system}"
    yield "\nfound"
    headers = f"for TensorRT {here.core_tensorrt}" if here.core_tensorrt else "without TensorRT"
    core = f"built, {headers}" if here.core_problem is None else f"not usable: {here.core_problem}"
    yield _row("core", core)
    yield from _runtime_lines(here)
    cores = f"{here.processor.cores} cores"
    yield _row("processor", f"{here.processor.model}, {cores}")
    yield _row("", " ".join(here.processor.features) or "no vector extensions known to fgdm")
    own = f"{here.attention} kernel (backend cpu, float32 graphs)" if here.attention else ""
    yield _row("attention", own or "standard ops")
    for gpu in here.gpus:
        capability = f"compute {gpu.compute_capability}" if gpu.compute_capability else ""
        driver = f"driver {gpu.driver}" if gpu.driver else ""
        yield _row("GPU", ", ".join(filter(None, (gpu.name, gpu.memory, capability, driver))))
    if not here.gpus:
        yield _row("GPU", "none (NVIDIA)")
    for name, library in here.libraries.items():
        yield _row(name, library or "none")
    for tool, version in here.tools.items():
        yield _row(tool, version or "none")
    installed = [f"{name} {version}" for name, version in here.packages.items() if version]
    yield _row("packages", ", ".join(installed) or "none of those that export and train need")
    yield "\nable to"
    for item in capabilities(here):
        yield f"  [{'x' if item.ready else ' '}] {item.name}"
        if item.missing:
            yield f"        missing: {', '.join(item.missing)}"
        for command in item.commands:
            yield f"        run:     {command}"


def _runtime_lines(here: Machine) -> Iterator[str]:
    for runtime in here.runtimes:
        providers = ", ".join(runtime.providers) or "no library in it"
        yield _row("runtime", f"{runtime.package} {runtime.version} ({providers})")
        if runtime.library is not None:
            yield _row("", runtime.library)
    if not here.runtimes:
        yield _row("runtime", "none")
    for plugin in here.plugins:
        yield _row("plugin", f"{plugin.package} {plugin.version} ({plugin.backend})")
        yield _row("", plugin.library)
    for device in here.devices:
        yield _row("device", _device(device))
    for problem in here.plugin_problems:
        yield _row("not usable", problem)


def _device(device: machine.Device) -> str:
    """As "CPU Intel(R) Xeon(R) of OpenVINOExecutionProvider 1.8.1"."""
    offer = f"of {device.provider} {device.version}".strip()
    return " ".join(filter(None, (device.kind, device.name or device.vendor, offer)))


def _row(label: str, text: str) -> str:
    return f"  {label:<13} {text}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Prints the report; 0 if this machine can generate, else 1."""
    here = look()
    if args.json:
        print(json.dumps(report(here), indent=2))
    else:
        print("\n".join(lines(here)))
    return 0 if capabilities(here)[0].ready else 1
