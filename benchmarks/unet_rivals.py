"""Stable Diffusion 1.5's UNet with random weights: a guided step in fgdm and in two C++ rivals.

pip install stable-diffusion-cpp-python openvino
python -m benchmarks.unet_rivals --keep runs/unet --output benchmarks/results/unet_rivals.json

One step of a text-to-image pass with guidance is two rows of the UNet. fgdm's backbone graph runs
them as one batch in ONNX Runtime, as the engine does; OpenVINO, the runtime under openvino-genai,
runs the same graph; stable-diffusion.cpp reads the same weights as one checkpoint in the original
layout and paints a picture, of whose steps the first is left out. fgdm and one rival at a time are
in memory and take turns.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from fgdm.statistics import paired_ratio
from onnx import inliner

from benchmarks.machine import available_cores, write_results
from benchmarks.statistics import summary

PROMPT = "two dogs beside a park bench on the grass"
CHECKPOINT, GRAPH = "v1-5.safetensors", "backbone.onnx"

#: Wall and processor seconds of one guided step.
Step = tuple[float, float]


def build(folder: Path) -> None:
    """Writes random weights as a checkpoint in the original layout, and fgdm's UNet graph."""
    import torch  # noqa: PLC0415 (in a process whose memory comes back)
    from diffusers import UNet2DConditionModel  # noqa: PLC0415
    from fgdm.export.graphs import own_backbone_graph  # noqa: PLC0415
    from fgdm.export.onnx_export import export_graph  # noqa: PLC0415
    from fgdm.export.weights import WeightStore  # noqa: PLC0415
    from safetensors.torch import save_file  # noqa: PLC0415

    from tests.export.sources import layouts  # noqa: PLC0415

    torch.manual_seed(1)
    folder.mkdir(parents=True, exist_ok=True)
    parts = {
        "model.diffusion_model.": layouts.unet(layouts.UNetSizes()),
        "first_stage_model.": layouts.vae(),
        "cond_stage_model.transformer.": layouts.text_encoder(),
    }
    tensors = {
        prefix + entry.file: torch.empty(entry.shape, dtype=torch.float16).uniform_(-0.02, 0.02)
        for prefix, entries in parts.items()
        for entry in entries
    }
    save_file(tensors, folder / CHECKPOINT)
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    state = {
        entry.model: tensors[f"model.diffusion_model.{entry.file}"]
        for entry in parts["model.diffusion_model."]
    }
    shapes = {name: value.shape for name, value in unet.state_dict().items()}
    unet.load_state_dict({name: value.reshape(shapes[name]) for name, value in state.items()})
    del tensors, state
    store = WeightStore(folder, "fp16")
    store.save(unet, "unet", "diffusion_pytorch_model.safetensors")
    export_graph(own_backbone_graph("backbone", unet, 77), store)


def inputs(size: int) -> dict[str, np.ndarray[Any, Any]]:
    """Two rows: a latent of size / 8 cells a side twice, with two texts."""
    drawn = np.random.default_rng(0)
    side = size // 8
    return {
        "sample": drawn.standard_normal((2, 4, side, side)).astype(np.float32),
        "timestep": np.full(2, 500, np.float32),
        "encoder_hidden_states": drawn.standard_normal((2, 77, 768)).astype(np.float32),
        "attn_scale": np.ones(2, np.float32),
        "argmax_mask": np.ones((2, 77), np.bool_),
    }


def timed(call: Callable[[], object]) -> Step:
    began, spent = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - began, time.process_time() - spent


def fgdm_step(folder: Path, size: int, threads: int) -> Callable[[], Step]:
    """The backbone graph with the engine's session options."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(
        str(folder / GRAPH), options, providers=["CPUExecutionProvider"]
    )
    given = {value.name: inputs(size)[value.name] for value in session.get_inputs()}
    return lambda: timed(lambda: session.run(None, given))


def _without_functions(folder: Path) -> Path:
    """The graph with the body of fgdm's op in place of its calls: OpenVINO alone inlines none."""
    plain = folder / "backbone_plain.onnx"
    if not plain.is_file():
        graph = onnx.load(folder / GRAPH, load_external_data=False)
        plain.write_bytes(inliner.inline_local_functions(graph).SerializeToString())
    return plain


def openvino_step(folder: Path, size: int, threads: int, precision: str) -> Callable[[], Step]:
    """The same graph, compiled for these shapes."""
    import openvino  # noqa: PLC0415

    core = openvino.Core()
    model = core.read_model(_without_functions(folder))
    given = inputs(size)
    model.reshape({value.any_name: given[value.any_name].shape for value in model.inputs})
    compiled = core.compile_model(
        model, "CPU", {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
    )
    request = compiled.create_infer_request()
    wanted = {value.any_name: given[value.any_name] for value in compiled.inputs}
    return lambda: timed(lambda: request.infer(wanted))


def sdcpp_step(folder: Path, size: int, threads: int, weights: str) -> Callable[[], Step]:
    """The second of two steps of a picture. weights: what they are kept as, "f32" or "f16"."""
    from stable_diffusion_cpp import StableDiffusion  # noqa: PLC0415

    model = StableDiffusion(
        model_path=str(folder / CHECKPOINT), n_threads=threads, wtype=weights, verbose=False
    )

    def step() -> Step:
        ends: list[Step] = []
        model.generate_image(
            prompt=PROMPT,
            width=size,
            height=size,
            sample_steps=2,
            cfg_scale=7.5,
            sample_method="euler",
            progress_callback=lambda *_: ends.append((time.perf_counter(), time.process_time())),
        )
        (wall, spent), (wall_end, spent_end) = ends[-2:]
        return wall_end - wall, spent_end - spent

    return step


RIVALS: Mapping[str, Callable[[Path, int, int], Callable[[], Step]]] = {
    "sdcpp_f32": partial(sdcpp_step, weights="f32"),
    "sdcpp_f16": partial(sdcpp_step, weights="f16"),
    "openvino_f32": partial(openvino_step, precision="f32"),
    "openvino_f16": partial(openvino_step, precision="f16"),
}


def compare(ours: Callable[[], Step], theirs: Callable[[], Step], rounds: int) -> dict[str, Any]:
    """Both in turns; a round before them warms up and doesn't count."""
    taken: list[tuple[Step, Step]] = [(ours(), theirs()) for _ in range(rounds + 1)][1:]
    result: dict[str, Any] = {}
    for i, clock in enumerate(("wall", "processor")):
        own, other = [a[i] for a, _ in taken], [b[i] for _, b in taken]
        result[clock] = {
            "fgdm": summary(own),
            "rival": summary(other),
            "fgdm_over_rival": statistics.median(own) / statistics.median(other),
            "interval": paired_ratio(own, other).to_json(),
        }
    return result


def main() -> int:
    """Builds, measures in turns, prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keep", type=Path, default=Path("runs/unet"), help="folder of the models")
    parser.add_argument("--size", type=int, default=256, help="of the picture, in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--rivals", nargs="+", choices=list(RIVALS), default=list(RIVALS))
    parser.add_argument("--build", action="store_true", help="only build the models")
    parser.add_argument("--output", type=Path, help="JSON file of the results")
    given = parser.parse_args()
    if given.build:
        build(given.keep)
        return 0
    if not (given.keep / GRAPH).is_file():
        command = [sys.executable, "-m", "benchmarks.unet_rivals", "--build"]
        subprocess.run([*command, "--keep", str(given.keep)], check=True)
    ours = fgdm_step(given.keep, given.size, given.threads)
    found: dict[str, Any] = {}
    for name in given.rivals:
        theirs = RIVALS[name](given.keep, given.size, given.threads)
        found[name] = compare(ours, theirs, given.rounds)
        del theirs  # its memory is the next one's
        for clock, result in found[name].items():
            interval = result["interval"]
            print(
                f"{name:<14}{clock:<10} fgdm {result['fgdm']['median']:6.2f} s, "
                f"rival {result['rival']['median']:6.2f} s: {result['fgdm_over_rival']:.2f} "
                f"[{interval['low']:.2f}, {interval['high']:.2f}]",
                flush=True,
            )
    versions = {
        name: importlib.metadata.version(name)
        for name in ("onnxruntime", "openvino", "stable-diffusion-cpp-python")
    }
    options = {"size": given.size, "threads": given.threads, "rounds": given.rounds}
    write_results(given.output, {"options": options, "versions": versions, "rivals": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
