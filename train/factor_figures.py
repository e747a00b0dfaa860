"""Measures the depth, normal, sketch and pose factors against the truth, given the segmentation."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
from fgdm.export.adapter import TimestepAdapter
from fgdm.maps import decode_depth, decode_normals, decode_pose, decode_sketch
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPTextModel

from .autoencoder import decode, encode
from .captions import caption
from .condition import adapted_noise
from .diffusion import CaptionTokens
from .factor import PROMPT_PREFIXES
from .map_scores import Scores, depth_scores, normal_scores, pose_scores, sketch_scores
from .models import build_scheduler
from .render import colorize, render
from .tokens import load_tokenizer
from .truth import MAP_KINDS, MapKind, map_picture, outlines, skeletons
from .world import Scene, sample_scene

#: The first seed of the scenes that factors are measured on, far from every training set.
FIGURES_SEED = 9_000_000
#: What the factors are to reach, and whether more is better.
TARGETS: dict[str, tuple[float, bool]] = {
    "delta_1.25": (0.85, True),
    "mean_angle": (20.0, False),
    "f1": (0.6, True),
    "pck_0.1": (0.8, True),
}
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Base:
    """What every factor shares: the frozen base, and an autoencoder that decodes its maps."""

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    tokens: CaptionTokens
    vae: AutoencoderKL

    @staticmethod
    def of(folder: Path, autoencoder: Path) -> Base:
        """Of a run's folder or a bundle, in float32."""

        def load(kind: Any, path: Path) -> Any:
            return kind.from_pretrained(path, torch_dtype=torch.float32).eval()

        return Base(
            load(UNet2DConditionModel, folder / "unet"),
            load(CLIPTextModel, folder / "text_encoder"),
            CaptionTokens(load_tokenizer(folder / "tokenizer"), _CPU),
            load(AutoencoderKL, autoencoder),
        )


def held_out_scenes(kind: MapKind, count: int, size: int) -> list[Scene]:
    """Scenes whose combination of things no training scene has; for poses, with a person."""
    scenes: list[Scene] = []
    for seed in itertools.count(FIGURES_SEED):
        if len(scenes) == count:
            return scenes
        scene = sample_scene(seed, held_out=True)
        if kind != "pose" or skeletons(scene.instances, render(scene, size, geometry=False).labels):
            scenes.append(scene)
    raise AssertionError("seeds never end")


def scores(kind: MapKind, scenes: Sequence[Scene], pictures: NDArray[np.uint8]) -> Scores:
    """Of (n, S, S, 3) pictures of maps of the scenes."""
    size = pictures.shape[1]
    views = [render(scene, size) for scene in scenes]
    if kind == "depth":
        seen = np.stack([decode_depth(picture) for picture in pictures])
        return depth_scores(np.stack([view.depth for view in views]).astype(np.float32), seen)
    if kind == "normal":
        seen = np.stack([decode_normals(picture) for picture in pictures])
        return normal_scores(np.stack([view.normals for view in views]).astype(np.float32), seen)
    if kind == "sketch":
        seen = np.stack([decode_sketch(picture) for picture in pictures])
        return sketch_scores(np.stack([outlines(view) for view in views]).astype(np.float32), seen)
    truth = [
        skeletons(scene.instances, view.labels) for scene, view in zip(scenes, views, strict=True)
    ]
    return pose_scores(truth, [decode_pose(picture) for picture in pictures])


@torch.no_grad()
def sample_maps(
    kind: MapKind,
    adapter: TimestepAdapter,
    base: Base,
    texts: list[str],
    segmentation: Tensor,
    steps: int,
    guidance_scale: float,
) -> NDArray[np.uint8]:
    """Maps of a kind, (n, S, S, 3), given (n, 4, h, w) latents of the segmentation: DPM-Solver++.

    segmentation: zeros where the factor is left out. The same noise whenever it is called.
    """
    noise = np.random.default_rng(FIGURES_SEED).standard_normal(segmentation.shape, np.float32)
    latents = []
    for part in np.array_split(np.arange(len(texts)), -(-len(texts) // 50)):
        context = _context(base, [PROMPT_PREFIXES[kind] + texts[i] for i in part])
        empty = _context(base, [""] * len(part))
        scheduler = DPMSolverMultistepScheduler.from_config(build_scheduler().config)
        scheduler.set_timesteps(steps)
        latent, seen = torch.from_numpy(noise[part]), segmentation[part]
        for timestep in scheduler.timesteps:
            times = timestep.expand(len(part))
            predicted = adapted_noise(base.unet, adapter, latent, times, context, seen)
            if guidance_scale != 1:
                plain = adapted_noise(base.unet, adapter, latent, times, empty, seen)
                predicted = plain + guidance_scale * (predicted - plain)
            latent = scheduler.step(predicted, timestep, latent).prev_sample
        latents.append(latent)
    return decode(base.vae, torch.cat(latents))


def _context(base: Base, texts: list[str]) -> Tensor:
    context: Tensor = base.text_encoder(base.tokens(texts)).last_hidden_state
    return context


def measure(
    kind: MapKind,
    adapter: TimestepAdapter | None,
    base: Base,
    size: int,
    count: int,
    steps: int,
    guidance_scale: float,
) -> dict[str, dict[str, list[float]]]:
    """Rows of scores, each [mean, half of its 95 % interval], of `count` held-out scenes.

    "autoencoder": the truth, encoded and decoded, which no factor surpasses. With an adapter:
    "factor", given the true segmentation, and "factor without segmentation".
    """
    scenes = held_out_scenes(kind, count, size)
    pictures = np.stack([map_picture(kind, scene, size) for scene in scenes])
    rows = {"autoencoder": decode(base.vae, encode(base.vae, pictures, _CPU))}
    if adapter is not None:
        labels = np.stack([render(scene, size, geometry=False).labels for scene in scenes])
        segmentation = encode(base.vae, colorize(labels), _CPU).float()
        texts = [caption(scene) for scene in scenes]
        for name, seen in (
            ("factor", segmentation),
            ("factor without segmentation", torch.zeros_like(segmentation)),
        ):
            rows[name] = sample_maps(kind, adapter, base, texts, seen, steps, guidance_scale)
    return {
        row: {name: _interval(values) for name, values in scores(kind, scenes, maps).items()}
        for row, maps in rows.items()
    }


def _interval(values: NDArray[np.float64]) -> list[float]:
    return [float(values.mean()), float(1.96 * values.std(ddof=1) / len(values) ** 0.5)]


def table(figures: dict[str, dict[str, dict[str, list[float]]]]) -> str:
    """A Markdown table of `measure`'s rows by kind, with the targets."""
    lines = [
        "| kind | score | target | " + " | ".join(_ROWS) + " |",
        "|---" * (3 + len(_ROWS)) + "|",
    ]
    for kind, rows in figures.items():
        for name in rows["autoencoder"]:
            target = ""
            if name in TARGETS:
                value, more = TARGETS[name]
                target = f"{'≥' if more else '≤'} {value:g}"
            cells = [
                "{:.3g} ± {:.2g}".format(*rows[row][name]) if row in rows else "" for row in _ROWS
            ]
            lines.append(f"| {kind} | {name} | {target} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


_ROWS = ("factor", "factor without segmentation", "autoencoder")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m fgdm.train.factor_figures",
        description=(__doc__ or "").splitlines()[0],
        epilog="Of a kind whose adapter isn't in the run's folder, only what the autoencoder keeps "
        "is measured.",
    )
    parser.add_argument("run", type=Path, help="folder with adapter_depth and so on")
    parser.add_argument("--start", type=Path, required=True, help="the run or bundle of the base")
    parser.add_argument(
        "--autoencoder", type=Path, help="default: the run's vae, or the base's if it has none"
    )
    parser.add_argument("--kinds", nargs="+", choices=MAP_KINDS, default=MAP_KINDS)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--size", type=int, default=64, help="of the maps, in pixels")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--guidance-scale", type=float, default=1.0)
    parser.add_argument("--output", type=Path, help="JSON file of the figures")
    options = parser.parse_args(arguments)
    own = options.run / "vae"
    autoencoder = options.autoencoder or (own if own.exists() else options.start / "vae")
    base = Base.of(options.start, autoencoder)
    figures = {}
    for kind in options.kinds:
        folder = options.run / f"adapter_{kind}"
        adapter = TimestepAdapter.from_pretrained(folder).eval() if folder.exists() else None
        figures[kind] = measure(
            kind,
            adapter,
            base,
            options.size,
            options.scenes,
            options.steps,
            options.guidance_scale,
        )
        print(f"{kind}: measured", file=sys.stderr, flush=True)
    if options.output is not None:
        settings = {
            name: getattr(options, name) for name in ("scenes", "size", "steps", "guidance_scale")
        }
        options.output.write_text(json.dumps(settings | {"kinds": figures}, indent=1) + "\n")
    print(table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
