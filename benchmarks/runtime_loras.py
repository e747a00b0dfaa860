"""What LoRAs that requests weigh cost: a backbone's step without them, and with none, one, two.

taskset -c 0 python -m benchmarks.runtime_loras --runtime cpu --levels 320,640 --size 32 --rank 16

On a processor it is the processor's time that counts, which other work there hardly changes; of
more than one core it has waiting threads in it, too.
The UNet has random weights, and Stable Diffusion 1.5's layers and widths as far as --levels go.
LoRAs change the layers that kohya's trainer changes: attention, feed-forward and the projections
around them. `none` is the graph that takes LoRAs, in a batch without any. `two requests` have a
LoRA each, and their rows are one batch, as in the engine, or a batch for each LoRA.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import onnx
import torch
from diffusers import UNet2DConditionModel
from fgdm.export.bundle import DIFFUSERS_FILE
from fgdm.export.compare import runtimes
from fgdm.export.graphs import backbone_graph
from fgdm.export.lora_branches import DOWN, SCALE, UP, LoraBranches
from fgdm.export.onnx_export import export_graph
from fgdm.export.signature import Graph
from fgdm.export.sources.low_rank import Pair
from fgdm.export.weights import WeightStore
from torch import Tensor, nn

from benchmarks.machine import write_results
from benchmarks.report import print_table

_TOKENS, _WIDTH = 77, 768
_CHANGED = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out")


def random_unet(levels: list[int]) -> UNet2DConditionModel:
    """Levels with cross-attention of these widths, with two layers each."""
    torch.manual_seed(1)
    return UNet2DConditionModel(
        block_out_channels=levels,
        down_block_types=("CrossAttnDownBlock2D",) * len(levels),
        up_block_types=("CrossAttnUpBlock2D",) * len(levels),
        cross_attention_dim=_WIDTH,
    )


def random_pairs(layers: dict[str, nn.Module], rank: int) -> dict[str, Pair]:
    pairs = {}
    for name, layer in layers.items():
        weight = layer.get_parameter("weight").flatten(1)
        down, up = torch.randn(rank, weight.shape[1]), torch.randn(weight.shape[0], rank)
        pairs[name] = Pair(0.02 * down, 0.02 * up)
    return pairs


class Case:
    """A graph on a runtime, and the batches that it is given."""

    def __init__(self, name: str, runner: Any, *batches: dict[str, Tensor]) -> None:
        self.name, self.seconds = name, list[float]()
        self._runner = runner
        self._feeds = [{key: value.numpy() for key, value in inputs.items()} for inputs in batches]

    def run(self, clock: Callable[[], float]) -> None:
        begin = clock()
        for feed in self._feeds:
            self._runner.infer(feed)
        self.seconds.append(clock() - begin)


def measure(args: argparse.Namespace, folder: Path) -> list[Case]:
    """Cases in turn, so that whatever else the machine does is shared by all."""
    unet = random_unet(args.levels)
    layers = {name: layer for name, layer in unet.named_modules() if name.endswith(_CHANGED)}
    branches = LoraBranches(layers)
    matrices = [
        branches.packed(random_pairs(layers, args.rank), args.rank) for _ in range(args.most)
    ]
    plain = backbone_graph(unet, _TOKENS)
    store = WeightStore(folder, "fp32")
    store.save(unet, "unet", DIFFUSERS_FILE)
    runtime = runtimes.find(args.runtime)
    on_processor = args.runtime in ("cpu", "plain", "openvino")
    clock = time.process_time if on_processor else time.perf_counter
    inputs = plain.random_inputs(args.rows, args.size, args.size, seed=1)

    def runner(graph: Graph) -> Any:
        path = export_graph(graph, store)
        return stack.enter_context(runtime(onnx.load(path, load_external_data=False), folder, []))

    with ExitStack() as stack:
        cases = [Case("a bundle without LoRAs", runner(plain), inputs)]
        zeros = [(torch.zeros(branches.inputs, 1), torch.zeros(branches.outputs, 1))]

        def given(used: list[tuple[Tensor, Tensor]], scale: Tensor) -> dict[str, Tensor]:
            down, up = (torch.cat(parts, dim=1) for parts in zip(*used, strict=True))
            return {DOWN: down, UP: up, SCALE: scale}

        weighed = runner(branches.graph(backbone_graph(unet, _TOKENS), matrices))
        for count in range(args.most + 1):
            used = matrices[:count] or zeros
            scale = torch.full((args.rows, count * args.rank or 1), float(count > 0))
            name = "none" if count == 0 else f"{count} of rank {args.rank}"
            cases.append(Case(name, weighed, {**inputs, **given(used, scale)}))
        both = plain.random_inputs(2 * args.rows, args.size, args.size, seed=1)
        own = torch.eye(2).repeat_interleave(args.rows, 0).repeat_interleave(args.rank, 1)
        one_batch = {**both, **given(matrices[:2], own)}
        ones = torch.ones(args.rows, args.rank)
        by_lora = [{**inputs, **given([lora], ones)} for lora in matrices[:2]]
        cases.append(Case("two requests, one batch", weighed, one_batch))
        cases.append(Case("two requests, a batch for each", weighed, *by_lora))
        for _ in range(args.repeats + 1):
            for case in cases:
                case.run(clock)
    return cases


def main() -> int:
    """Prints the table; writes it as JSON where that was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runtime", default="cpu", choices=runtimes.NAMES)
    parser.add_argument(
        "--levels", default=[320, 640], type=lambda text: [int(part) for part in text.split(",")]
    )
    parser.add_argument("--size", type=int, default=32, help="of the latent, in cells")
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--most", type=int, default=2, help="LoRAs at once, two or more")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cases = measure(args, Path(folder))
    medians = {case.name: statistics.median(case.seconds[1:]) for case in cases}
    first = medians[cases[0].name]
    rows = [("LoRAs", "ms a step", "times")]
    rows += [(name, f"{1e3 * took:.1f}", f"{took / first:.3f}") for name, took in medians.items()]
    print_table(rows)
    settings = {key: value for key, value in vars(args).items() if key != "output"}
    write_results(args.output, {"settings": settings, "seconds": medians})
    return 0


if __name__ == "__main__":
    sys.exit(main())
