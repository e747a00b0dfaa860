"""The runtimes that plans are built for, and what each can build on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from fgdm import machine, plans

from ..errors import ExportError


@dataclass(frozen=True)
class Target:
    """A runtime as `--target` names it.

    module: its Python module. package: what to install. oldest, newest: versions, by their leading
    numbers; the API that is used here exists in all of them. needs_gpu: to build.
    """

    name: str
    module: str
    package: str
    oldest: tuple[int, int]
    newest: int
    needs_gpu: bool


TARGETS = {
    target.name: target
    for target in (
        Target("tensorrt", "tensorrt", "tensorrt>=10.3,<12", (10, 3), 11, True),
        Target("tensorrt-rtx", "tensorrt_rtx", "tensorrt-rtx-cu13>=1.7,<2", (1, 7), 1, False),
    )
}


def load(target: Target) -> Any:
    """The runtime's Python module.

    Raises:
        ExportError: it isn't installed, can't be loaded, or has a version that isn't supported.
    """
    remedy = f"run: pip install '{target.package}'"
    if target.needs_gpu:
        remedy += " (on a Jetson, JetPack brings it: apt install python3-libnvinfer)"
    try:
        module = import_module(target.module)
    except ImportError as error:
        raise ExportError(
            f"--target {target.name} needs the Python package {target.module}, which can't be "
            f"imported ({error}); {remedy}"
        ) from error
    version = str(module.__version__)
    numbers = tuple(int(part) for part in version.split(".")[:2])
    if numbers < target.oldest or numbers[0] > target.newest:
        oldest = ".".join(map(str, target.oldest))
        raise ExportError(
            f"{target.module} {version} is installed; expected {oldest} to {target.newest}.x; "
            f"{remedy}"
        )
    return module


def choose_gpus(target: Target, trt: Any, asked: Sequence[str]) -> tuple[str, ...]:
    """The architectures to build for, sorted, such as ("sm_86", "sm_89").

    Raises:
        ExportError: none is given or found, or one that the target can't build for here.
    """
    if not target.needs_gpu:
        return _ahead_of_time(target, trt, asked)
    here = [name for gpu in machine.find_gpus() if (name := plans.architecture(gpu)) is not None]
    if not here and not asked:
        raise ExportError(
            f"--target {target.name} builds on the GPU that will run the plans, and no NVIDIA GPU "
            "was found (no nvidia-smi, or it knows no compute capability). If there is one, name "
            "it, such as --gpu sm_87; --target tensorrt-rtx builds without a GPU"
        )
    if here and set(asked) - {here[0]}:
        raise ExportError(
            f"--gpu {','.join(asked)} given, but --target {target.name} builds for the machine's "
            f"own GPU, which is {here[0]}; leave --gpu out, or use --target tensorrt-rtx"
        )
    if len(set(asked)) > 1:
        raise ExportError(f"--target {target.name} builds for one GPU, got {','.join(asked)}")
    return (here[0] if here else asked[0],)


def _ahead_of_time(target: Target, trt: Any, asked: Sequence[str]) -> tuple[str, ...]:
    able = sorted((n for n in dir(trt.ComputeCapability) if n.startswith("SM")), key=_number)
    names = {f"sm_{name[2:]}" for name in able}
    listed = ", ".join(f"sm_{name[2:]}" for name in able)
    if not asked:
        raise ExportError(
            f"--target {target.name} builds for GPUs that needn't be here: name them, such as "
            f"--gpu sm_86,sm_89; {trt.__version__} knows {listed}"
        )
    unknown = sorted(set(asked) - names)
    if unknown:
        raise ExportError(
            f"{target.name} {trt.__version__} can't build for {', '.join(unknown)}; it knows "
            f"{listed}. Others (sm_90, sm_100) need --target tensorrt on that GPU"
        )
    return tuple(sorted(set(asked), key=_number))


def _number(name: str) -> int:
    return int("".join(filter(str.isdigit, name)))
