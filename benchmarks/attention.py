"""Speed of the core's attention kernel on the processor, beside the standard ops it replaces.

taskset -c 1 python -m benchmarks.attention --output benchmarks/results/attention.json

The op alone, at the sizes of Stable Diffusion 1.x's heads and of the bundle's own, in ONNX Runtime
sessions of a one-node graph: two rows, as guidance has them, both plain or one at -10. Then whole
steps of the bundle, networks, guidance and sampler, with and without segmentation-free guidance.
The two sides take turns, and each goes first every other time. Times are of processors; `speedup`
is the median of the rounds' ratios.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import fgdm._core
import numpy as np
import onnx
import onnxruntime
from fgdm import Engine, StepInfo
from fgdm.export.functions import OPSET, segfree_attention_function
from fgdm.export.op import OP_DOMAIN, OP_NAME, OP_VERSION
from onnx import TensorProto, helper

from benchmarks.attention_shapes import HEADS, LEVELS, TOKENS
from benchmarks.command import PROMPT, make_parser
from benchmarks.machine import write_results

#: As Engine takes it: ours, and what it replaces.
SIDES = ("kernel", "standard")
PATCHES = 1024
_SCALES = {"plain": (1.0, 1.0), "segfree": (-10.0, 1.0)}


@dataclass(frozen=True)
class Paired:
    """Milliseconds of both sides, medians over rounds, and the median of the rounds' ratios with
    the quarters around it. wall_speedup: the same by the clock on the wall."""

    own_ms: float
    standard_ms: float
    speedup: float
    quarters: tuple[float, float]
    wall_speedup: float


#: Processor seconds, and seconds on the wall.
Times = tuple[float, float]


def paired(own: list[Times], standard: list[Times]) -> Paired:
    """What rounds of both come to; one pair of times a round."""
    ratios = [b[0] / a[0] for a, b in zip(own, standard, strict=True)]
    low, high = np.percentile(ratios, [25, 75])
    return Paired(
        own_ms=1e3 * statistics.median(a[0] for a in own),
        standard_ms=1e3 * statistics.median(b[0] for b in standard),
        speedup=statistics.median(ratios),
        quarters=(float(low), float(high)),
        wall_speedup=statistics.median(b[1] / a[1] for a, b in zip(own, standard, strict=True)),
    )


def take_turns(rounds: int, sides: tuple[Callable[[], Times], Callable[[], Times]]) -> Paired:
    """Measures both sides so often, after a first time that doesn't count."""
    found: tuple[list[Times], list[Times]] = ([], [])
    for turn in range(rounds + 1):
        for side in (0, 1) if turn % 2 else (1, 0):
            times = sides[side]()
            if turn:
                found[side].append(times)
    return paired(*found)


def one_node() -> bytes:
    """A model of the op alone, with its function's body."""
    shapes = {"q": "BHPd", "k": "BHTd", "v": "BHTd", "attn_scale": "B", "argmax_mask": "BT"}
    types = {"argmax_mask": TensorProto.BOOL}
    values = [
        helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), list(shape))
        for name, shape in shapes.items()
    ]
    node = helper.make_node(OP_NAME, list(shapes), ["out"], domain=OP_DOMAIN)
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, list("BHPd"))
    model = helper.make_model(
        helper.make_graph([node], "op", values, [output]),
        functions=[segfree_attention_function()],
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(OP_DOMAIN, OP_VERSION)],
        ir_version=10,
    )
    return bytes(model.SerializeToString())


def open_op(model: bytes, own: bool, threads: int) -> onnxruntime.InferenceSession:
    """A session of the op: by the core's kernel, or by the standard ops."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if own:
        options.register_custom_ops_library(fgdm.custom_ops_library())
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def inputs_of(heads: int, patches: int, size: int, scales: Iterable[float]) -> dict[str, Any]:
    """Two rows of normal numbers; all tokens but the first may be the strongest."""
    random = np.random.default_rng(0)

    def normal(count: int) -> Any:
        return random.standard_normal((2, heads, count, size), dtype=np.float32)

    mask = np.ones((2, TOKENS), bool)
    mask[:, 0] = False
    scale = np.array(list(scales), np.float32)
    q, k, v = normal(patches), normal(TOKENS), normal(TOKENS)
    return {"q": q, "k": k, "v": v, "attn_scale": scale, "argmax_mask": mask}


def measure_op(threads: int, rounds: int, levels: Iterable[tuple[int, int, int]]) -> dict[str, Any]:
    """By "heads x size, patches" and kind of rows; levels are (heads, size of a head, patches)."""
    model = one_node()
    own, standard = (open_op(model, side == SIDES[0], threads) for side in SIDES)
    found: dict[str, Any] = {}
    for heads, size, patches in levels:
        name = f"{heads} x {size}, {patches} patches"
        found[name] = {}
        for kind, scales in _SCALES.items():
            given = inputs_of(heads, patches, size, scales)

            def call(session: onnxruntime.InferenceSession, given: Any = given) -> Times:
                began, wall = time.process_time(), time.perf_counter()
                for _ in range(5):
                    session.run(None, given)
                return (time.process_time() - began) / 5, (time.perf_counter() - wall) / 5

            error = np.abs(own.run(None, given)[0] - standard.run(None, given)[0])
            result = take_turns(rounds, (lambda: call(own), lambda: call(standard)))
            # A near tie may give a patch another token on each side: not one patch in a thousand.
            worst = float(np.quantile(error.max((1, 3)), 0.999))
            found[name][kind] = {**asdict(result), "error": worst}
            print(
                f"op, {name}, {kind}: {result.own_ms:.2f} ms, standard ops {result.standard_ms:.2f}"
                f" ms: {result.speedup:.2f} times as fast"
            )
    return found


def step_times(engine: Engine, **options: Any) -> dict[str, Times]:
    """Of a request, by factor: medians over steps of what lies between two steps' ends."""
    ends: dict[str, list[Times]] = {}

    def note(step: StepInfo) -> None:
        ends.setdefault(step.factor, []).append((time.process_time(), time.perf_counter()))

    engine.generate(PROMPT, seed=1, step_callback=note, **options)
    return {
        factor: (
            statistics.median(b[0] - a[0] for a, b in itertools.pairwise(times)),
            statistics.median(b[1] - a[1] for a, b in itertools.pairwise(times)),
        )
        for factor, times in ends.items()
    }


def measure_steps(bundle: Path, threads: int, rounds: int) -> dict[str, Any]:
    """By guidance and factor: steps of four maps, and of the picture."""
    options: dict[str, Any] = {
        "candidates": 4,
        "condition_steps": 10,
        "num_inference_steps": 10,
        "stop_at_recall": 0.0,
        "cache_interval": 1,
    }
    found: dict[str, Any] = {}
    with (
        Engine(bundle, backend="cpu", threads=threads, attention=SIDES[0]) as own,
        Engine(bundle, backend="cpu", threads=threads, attention=SIDES[1]) as standard,
    ):
        for guidance in ("segfree", "cfg"):
            chosen = {"guidance": guidance, **options}
            if guidance == "segfree":
                chosen["segfree_start"] = 0.0
            taken: dict[str, tuple[list[Times], list[Times]]] = {}
            for turn in range(rounds + 1):
                for side in (0, 1) if turn % 2 else (1, 0):
                    for factor, times in step_times((own, standard)[side], **chosen).items():
                        if turn:
                            taken.setdefault(factor, ([], []))[side].append(times)
            found[guidance] = {factor: asdict(paired(*both)) for factor, both in taken.items()}
            for factor, result in found[guidance].items():
                print(
                    f"step, {factor}, {guidance}: {result['own_ms']:.1f} ms, standard ops "
                    f"{result['standard_ms']:.1f} ms: {result['speedup']:.3f} times as fast"
                )
        found["kernel"] = own.attention
    return found


def bundle_levels(bundle: Path) -> list[tuple[int, int, int]]:
    """Heads, their size and patches of the picture's cross-attention, by the UNet's config.json;
    none where the bundle has no such file."""
    file = bundle / "unet/config.json"
    if not file.is_file():
        return []
    config = json.loads(file.read_text())
    manifest = json.loads((bundle / "manifest.json").read_text())
    image = manifest["factors"][-1]
    vae = json.loads((bundle / "vae/config.json").read_text())
    pixels_a_side = 2 ** (len(vae["block_out_channels"]) - 1)
    cells = image["height"] * image["width"] // pixels_a_side**2
    heads = config["attention_head_dim"]  # diffusers' name for the number of heads
    widths = config["block_out_channels"]
    return [
        (count, width // count, cells // 4**level)
        for level, (count, width) in enumerate(zip(heads, widths, strict=True))
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="of the op; default: 40")
    parser.add_argument("--step-rounds", type=int, default=12, help="of requests; default: 12")
    given = parser.parse_args(arguments)
    sizes = dict.fromkeys(size for _, size in LEVELS)
    levels = [(HEADS, size, PATCHES) for size in sizes]
    op = measure_op(given.threads, given.rounds, [*levels, *bundle_levels(given.bundle)])
    steps = measure_steps(given.bundle, given.threads, given.step_rounds)
    slowest = min(
        result["speedup"]
        for heads, size, patches in levels
        for result in op[f"{heads} x {size}, {patches} patches"].values()
    )
    results = {
        "runtime": f"onnxruntime {onnxruntime.__version__}",
        "kernel": steps.pop("kernel"),
        "threads": given.threads,
        "onnx": onnx.__version__,
        "slowest_op_speedup": slowest,
        "op": op,
        "steps": steps,
    }
    write_results(given.output, results)
    print(f"the op is {slowest:.2f} times as fast at least (target: 1.5)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
