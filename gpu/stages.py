"""What is run on a card, in order of worth: each stage's commands and limits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: Tests that aren't worth the minutes they take under compute-sanitizer.
_SHORT_CASES = "-*ManyPatches*:*IsDeterministic*"


@dataclass(frozen=True)
class Place:
    """Where things are on this machine.

    kit: the unpacked kit. bundle: Stable Diffusion 1.5's shapes, stripped of their weights; in a
    rehearsal, the shipped bundle's. work: what a run leaves behind and nobody keeps.
    """

    python: str
    kit: Path
    bundle: Path
    work: Path


@dataclass(frozen=True)
class Command:
    """One program.

    limit: seconds, after which it is ended. output: the JSON file that it writes, if any. partial:
    whether it is fine that the limit ends it.
    """

    name: str
    arguments: tuple[str, ...]
    limit: int
    output: Path | None = None
    partial: bool = False


@dataclass(frozen=True)
class Stage:
    """Commands that belong together; one that fails doesn't keep the next ones from running."""

    name: str
    about: str
    commands: tuple[Command, ...]


def stages(place: Place, rehearse: bool) -> tuple[Stage, ...]:
    """All stages, in the order in which their results are worth most.

    rehearse: the same programs on the CPU with as little work as they take, and the kernels'
    emulation in place of the kernels.
    """
    return (
        Stage("card", "what the card is and reaches", (_card(place, rehearse),)),
        Stage("kernels", "kernels against float64, and their speed", _kernels(place, rehearse)),
        Stage("sanitizers", "kernels under compute-sanitizer", _sanitizers(place, rehearse)),
        Stage("engine", "the card's pictures beside the CPU's", _engine(place, rehearse)),
        Stage("request", "Stable Diffusion 1.5's shapes", _request(place, rehearse)),
        Stage("contexts", "openings with TensorRT-RTX, contexts kept", _contexts(place)),
        Stage("training", "the larger scenes preset; resumable", (_training(place, rehearse),)),
    )


def _measured(place: Place, name: str, limit: int, module: str, *arguments: str) -> Command:
    """A module that takes --output FILE."""
    output = place.work / f"{name}.json"
    program = (place.python, "-m", module, *arguments, "--output", str(output))
    return Command(name, program, limit, output)


def _tested(place: Place, name: str, limit: int, *program: str) -> Command:
    """A GoogleTest program."""
    output = place.work / f"{name}.json"
    return Command(name, (*program, f"--gtest_output=json:{output}"), limit, output)


def _card(place: Place, rehearse: bool) -> Command:
    device = "cpu" if rehearse else "cuda"
    return _measured(place, "card", 60, "gpu.card", "--device", device)


def _kernels(place: Place, rehearse: bool) -> tuple[Command, ...]:
    programs = place.kit / "programs"
    if rehearse:
        emulation = (str(programs / "fgdm-kernel-tests"), "--gtest_filter=GuidedStep*")
        return (_tested(place, "kernel-tests", 60, *emulation),)
    library = str(programs / "libfgdm_kernels.so")
    return (
        _tested(place, "kernel-tests", 90, str(programs / "fgdm_kernel_gpu_tests")),
        _measured(place, "kernel-speed", 90, "benchmarks.kernels", library),
    )


def _sanitizers(place: Place, rehearse: bool) -> tuple[Command, ...]:
    if rehearse:
        return ()
    tests = str(place.kit / "programs" / "fgdm_kernel_gpu_tests")
    return tuple(
        _tested(
            place,
            tool,
            75,
            *("compute-sanitizer", "--tool", tool, "--error-exitcode", "1"),
            *(tests, f"--gtest_filter={_SHORT_CASES}"),
        )
        for tool in ("memcheck", "racecheck")
    )


def _engine(place: Place, rehearse: bool) -> tuple[Command, ...]:
    backend = ("--backend", "cpu" if rehearse else "cuda")
    few = ("--prompts", "1") if rehearse else ()
    return (
        _measured(place, "engine", 120, "gpu.parity", *backend, *few),
        _measured(place, "arrays", 60, "gpu.arrays", *backend),
    )


def _request(place: Place, rehearse: bool) -> tuple[Command, ...]:
    """As the paper runs it: ten maps of 10 steps, an image of 20."""
    bundle, backend = str(place.bundle), ("--backend", "cpu" if rehearse else "cuda")
    candidates, map_steps, image_steps = ("2", "2", "2") if rehearse else ("10", "10", "20")
    size = (
        *("--candidates", candidates, "--condition-steps", map_steps),
        *("--num-inference-steps", image_steps),
    )
    rival = ("--rivals", "float32") if rehearse else ("--rivals", "cuda_float16")
    rounds = ("--rounds", "1" if rehearse else "3")
    rows = "2,4" if rehearse else "2,4,8,16,20,32"
    clients = ("1", "2") if rehearse else ("1", "2", "4", "8", "16")
    return (
        Command("weights", (place.python, "-m", "gpu.random_weights", bundle), 90),
        _measured(
            place,
            "request",
            180,
            "benchmarks.diffusers_baseline",
            *(bundle, *backend, *rival, *size, *rounds),
        ),
        Command(
            "batches",
            (place.python, "-m", "fgdm", "profile", bundle, *backend, "--rows", rows),
            60,
            place.bundle / "plans" / "profile.json",
        ),
        _measured(
            place,
            "throughput",
            150,
            "benchmarks.throughput",
            *(bundle, *backend, *size, "--clients", *clients, "--loads", "--requests", "2"),
        ),
    )


def _contexts(place: Place) -> tuple[Command, ...]:
    """Where the kit has TensorRT-RTX's plugin: it has no code for every card."""
    if not any((place.kit / "wheels").glob("onnxruntime_ep_nv_tensorrt_rtx*.whl")):
        return ()
    openings = ("--backend", "tensorrt-rtx", "--rounds", "1")
    return (
        _measured(
            place, "scenes-openings", 120, "benchmarks.contexts", "bundles/scenes", *openings
        ),
        _measured(place, "openings", 240, "benchmarks.contexts", str(place.bundle), *openings),
    )


def _training(place: Place, rehearse: bool) -> Command:
    preset = ("--preset", "smoke", "--device", "cpu") if rehearse else ("--preset", "gpu")
    run = ("--output", str(place.work / "training"))
    program = (place.python, "-m", "fgdm.train", "scenes", *run, *preset)
    return Command("training", program, 120 if rehearse else 480, partial=not rehearse)
