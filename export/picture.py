"""One picture of a written bundle, painted by the engine and by diffusers, before it is accepted.

Graphs are compared with PyTorch one by one (`check.py`). This is about what lies between them: the
tokenizer, the noise schedule, the samplers, the hints, and whether the engine opens the bundle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from fgdm.errors import Error
from numpy.typing import NDArray

from .defaults import PICTURE_TOLERANCE
from .errors import ExportError
from .reference import Reference

if TYPE_CHECKING:
    from fgdm._core import StepInfo

#: Enough for one step of the second order between a multistep solver's first and last.
_STEPS = 3
_GUIDANCE_SCALE = 5.0
_ADVICE = (
    "No bundle was written. `--no-check` writes it without this comparison, for those who want to "
    "look into it"
)


@dataclass(frozen=True)
class _Scene:
    """What is painted. size: of the image in pixels, the smallest that its latents divide into."""

    prompt: str
    negative_prompt: str
    object: str
    size: int
    noise: NDArray[np.float32]
    map_noise: NDArray[np.float32]
    control_images: Mapping[str, NDArray[np.uint8]]


def check_picture(root: Path) -> float:
    """The larger of two differences between the engine's chain and diffusers', three steps each.

    They are that of the map's clean latents, relative to their own root mean square, and that of
    the picture, relative to 255; both are root mean squares. Every added token of the tokenizer is
    compared with transformers' too.

    Args:
        root: the bundle's folder.

    Raises:
        ExportError: the engine can't open or run the bundle, or a difference is above
            `PICTURE_TOLERANCE`.
    """
    try:
        from fgdm._core import Tokenizer  # noqa: PLC0415 (export itself doesn't need the core)
        from fgdm.engine import Engine  # noqa: PLC0415
    except ImportError as error:
        raise ExportError(f"the bundle can't be opened here: {error}. {_ADVICE}") from error
    manifest = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    reference = Reference(root)
    scene = _scene(root, manifest, reference.added_tokens)
    map_latents: list[NDArray[np.float32]] = []

    def keep(info: StepInfo) -> None:
        if info.factor == manifest["factors"][0]["name"]:
            map_latents.append(info.predicted_x0())

    try:
        tokenizer = Tokenizer(str(root / "tokenizer"), manifest["text_encoder"]["max_length"])
        _check_tokens(tokenizer, reference, scene.prompt)
        with Engine(root, backend="cpu", threads=torch.get_num_threads()) as engine:
            result = engine.generate(
                scene.prompt,
                negative_prompt=scene.negative_prompt,
                objects=[scene.object],
                candidates=1,
                seed=0,
                condition_steps=_STEPS,
                num_inference_steps=_STEPS,
                guidance="cfg",
                guidance_scale=_GUIDANCE_SCALE,
                condition_guidance_scale=_GUIDANCE_SCALE,
                stop_at_recall=0.0,
                height=scene.size,
                width=scene.size,
                latents=scene.noise,
                condition_latents=scene.map_noise,
                control_images=scene.control_images,
                step_callback=keep,
            )
    except Error as error:
        raise ExportError(f"the engine can't run what was exported: {error}. {_ADVICE}") from error
    return _compare(reference, scene, map_latents[-1], result, manifest["precision"])


def _scene(root: Path, manifest: Mapping[str, Any], added_tokens: list[str]) -> _Scene:
    condition, image = manifest["factors"]
    palette = json.loads((root / condition["palette"]).read_text(encoding="utf-8"))
    downscale = manifest["autoencoder"]["downscale"]
    cells = 2 * manifest["backbone"]["downscale"]
    rng = np.random.default_rng(7)
    shape = (1, manifest["autoencoder"]["latent_channels"])
    noise = rng.standard_normal((*shape, cells, cells), np.float32)
    map_noise = rng.standard_normal((*shape, cells // 2, cells // 2), np.float32)
    size = cells * downscale
    needed = {entry["condition"] for entry in image["conditionings"]} - {condition["name"]}
    name = palette["classes"][0]["name"]
    return _Scene(
        prompt=" ".join(["a photo of", name, *added_tokens[-1:]]),
        negative_prompt="blurry",
        object=name,
        size=size,
        noise=noise,
        map_noise=map_noise,
        control_images={
            entry: rng.integers(0, 256, (size, size, 3), np.uint8) for entry in sorted(needed)
        },
    )


def _check_tokens(tokenizer: Any, reference: Reference, prompt: str) -> None:
    texts = [prompt, "", *(f"one {token}, or Two" for token in reference.added_tokens)]
    for text in texts:
        given, expected = list(tokenizer.encode(text)), reference.token_ids(text)
        if given != expected:
            raise ExportError(
                f"the engine reads {text!r} as the tokens {given}, and transformers as {expected}. "
                f"{_ADVICE}; --tokenizer gives another tokenizer"
            )


def _compare(
    reference: Reference,
    scene: _Scene,
    map_latents: NDArray[np.float32],
    result: Any,
    precision: str,
) -> float:
    condition, image = reference.condition, reference.image
    expected_latents = reference.map_latents(
        _prompts(condition, scene), scene.map_noise, _STEPS, _GUIDANCE_SCALE
    )
    chosen = np.asarray(result.map).repeat(2, axis=0).repeat(2, axis=1)
    expected_picture = reference.picture(
        _prompts(image, scene),
        scene.noise,
        _STEPS,
        _GUIDANCE_SCALE,
        {condition["name"]: chosen, **scene.control_images},
    )
    worst, allowed = 0.0, PICTURE_TOLERANCE[precision]
    for what, given, expected, scale in (
        ("the map's latents", map_latents, expected_latents, _size(expected_latents)),
        ("the picture", np.asarray(result.image), np.round(expected_picture), 255.0),
    ):
        error = _size(given.astype(np.float64) - expected) / scale
        if not error <= allowed:
            raise ExportError(
                f"{what} of the written bundle differs from diffusers' by {error:.1e} of its "
                f"scale, and {allowed:.0e} is allowed. {_ADVICE}"
            )
        worst = max(worst, error)
    return worst


def _prompts(factor: Mapping[str, Any], scene: _Scene) -> list[str]:
    """The prompt and the negative one, as the engine hands them to the text encoder."""
    prompt = factor.get("prompt_prefix", "") + scene.prompt + factor.get("prompt_suffix", "")
    return [prompt, scene.negative_prompt]


def _size(values: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
