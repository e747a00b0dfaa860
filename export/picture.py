"""One picture of a written bundle, painted by the engine and by diffusers, before it is accepted.

Graphs are compared with PyTorch one by one (`check.py`). This is about what lies between them: the
tokenizer, the noise schedule, the samplers, the hints, and whether the engine opens the bundle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from fgdm.errors import Error
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from .defaults import PICTURE_TOLERANCE
from .errors import ExportError
from .reference import Reference, plain_sampler

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
    """What is painted.

    object: a class that is asked for; None where no factor makes labels. size: of the image,
    height and width in pixels, the smallest with which every factor's latents divide.
    noise: by factor.
    """

    prompt: str
    negative_prompt: str
    object: str | None
    size: tuple[int, int]
    noise: Mapping[str, NDArray[np.float32]]
    control_images: Mapping[str, NDArray[np.uint8]]


def check_picture(root: Path) -> float:
    """The largest difference between the engine's chain and diffusers', three steps a factor.

    They are that of every map's clean latents, relative to their own root mean square, and that of
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
    factors: dict[str, Any] = {
        factor["name"]: {"latents": scene.noise[factor["name"]], **_sampler(factor)}
        for factor in reference.conditions
    }
    clean: dict[str, NDArray[np.float32]] = {}

    def keep(info: StepInfo) -> None:
        clean[info.factor] = info.predicted_x0()

    try:
        tokenizer = Tokenizer(str(root / "tokenizer"), manifest["text_encoder"]["max_length"])
        _check_tokens(tokenizer, reference, scene.prompt)
        with Engine(root, backend="cpu", threads=torch.get_num_threads()) as engine:
            result = engine.generate(
                scene.prompt,
                negative_prompt=scene.negative_prompt,
                objects=scene.object and [scene.object],
                candidates=1,
                seed=0,
                condition_steps=_STEPS,
                num_inference_steps=_STEPS,
                guidance="cfg",
                guidance_scale=_GUIDANCE_SCALE,
                condition_guidance_scale=_GUIDANCE_SCALE,
                stop_at_recall=0.0,
                height=scene.size[0],
                width=scene.size[1],
                latents=scene.noise[reference.image["name"]],
                control_images=scene.control_images,
                step_callback=keep,
                **_sampler(reference.image),
                factors=factors,
            )
    except Error as error:
        raise ExportError(f"the engine can't run what was exported: {error}. {_ADVICE}") from error
    return _compare(reference, scene, clean, result, manifest["precision"])


def _sampler(factor: Mapping[str, Any]) -> dict[str, Any]:
    """The engine's options for what the reference samples a factor by, which caches nothing."""
    sampler, spacing = plain_sampler(factor)
    return {"sampler": sampler, "timestep_spacing": spacing, "cache_interval": 1}


def _scene(root: Path, manifest: Mapping[str, Any], added_tokens: list[str]) -> _Scene:
    *conditions, image = manifest["factors"]
    palette = next((factor["palette"] for factor in conditions if "palette" in factor), None)
    name = None if palette is None else _first_class(root / palette)
    downscale = manifest["autoencoder"]["downscale"]
    multiple = downscale * manifest["backbone"]["downscale"]
    height, width = (_smallest(manifest["factors"], axis, multiple) for axis in ("height", "width"))
    rng = np.random.default_rng(7)

    def noise(factor: Mapping[str, Any]) -> NDArray[np.float32]:
        rows = height * factor["height"] // image["height"] // downscale
        columns = width * factor["width"] // image["width"] // downscale
        channels = manifest["autoencoder"]["latent_channels"]
        return rng.standard_normal((1, channels, rows, columns), np.float32)

    seen = {entry["condition"] for entry in image["conditionings"] if "condition" in entry}
    needed = seen - {factor["name"] for factor in conditions}
    return _Scene(
        prompt=" ".join(["a photo of", name or "a dog", *added_tokens[-1:]]),
        negative_prompt="blurry",
        object=name,
        size=(height, width),
        noise={factor["name"]: noise(factor) for factor in manifest["factors"]},
        control_images={
            entry: rng.integers(0, 256, (height, width, 3), np.uint8) for entry in sorted(needed)
        },
    )


def _first_class(palette: Path) -> str:
    return str(json.loads(palette.read_text(encoding="utf-8"))["classes"][0]["name"])


def _smallest(factors: Sequence[Mapping[str, Any]], axis: str, multiple: int) -> int:
    """The least height or width of an image, two multiples or more, with which every factor's is
    one too."""
    whole = int(factors[-1][axis])
    return next(
        side
        for side in range(min(whole, 2 * multiple), whole + 1, multiple)
        if all(side * factor[axis] % (whole * multiple) == 0 for factor in factors)
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
    clean: Mapping[str, NDArray[np.float32]],
    result: Any,
    precision: str,
) -> float:
    names = [factor["name"] for factor in reference.conditions]
    expected = reference.maps(
        {factor["name"]: _prompts(factor, scene) for factor in reference.conditions},
        scene.noise,
        _STEPS,
        _GUIDANCE_SCALE,
    )
    maps = {name: result.map if len(names) == 1 else result.factors[name].map for name in names}
    expected_picture = reference.picture(
        _prompts(reference.image, scene),
        scene.noise[reference.image["name"]],
        _STEPS,
        _GUIDANCE_SCALE,
        {
            **scene.control_images,
            **{
                factor["name"]: _enlarged(np.asarray(maps[factor["name"]]), factor, scene.size)
                for factor in reference.conditions
            },
        },
        {name: sampled.final for name, sampled in expected.items()},
    )
    pairs: list[tuple[str, NDArray[Any], NDArray[Any], float]] = [
        (f"the {name} map's latents", clean[name], sampled.clean, _size(sampled.clean))
        for name, sampled in expected.items()
    ]
    pairs.append(("the picture", np.asarray(result.image), np.round(expected_picture), 255.0))
    worst, allowed = 0.0, PICTURE_TOLERANCE[precision]
    for what, given, wanted, scale in pairs:
        error = _size(given.astype(np.float64) - wanted) / scale
        if not error <= allowed:
            raise ExportError(
                f"{what} of the written bundle differs from diffusers' by {error:.1e} of its "
                f"scale, and {allowed:.0e} is allowed. {_ADVICE}"
            )
        worst = max(worst, error)
    return worst


def _enlarged(
    picture: NDArray[np.uint8], factor: Mapping[str, Any], size: tuple[int, int]
) -> NDArray[Any]:
    """A map at the image's size: labels by the nearest pixel, pictures bilinearly."""
    if factor.get("output", "labels") == "labels":
        rows, columns = (
            (2 * np.arange(side) + 1) * own // (2 * side)
            for side, own in zip(size, picture.shape, strict=False)
        )
        nearest: NDArray[np.uint8] = picture[rows][:, columns]
        return nearest
    planes = torch.tensor(picture).permute(2, 0, 1)[None].float()
    larger = interpolate(planes, size, mode="bilinear")[0].permute(1, 2, 0)
    return cast("NDArray[np.float32]", larger.numpy())


def _prompts(factor: Mapping[str, Any], scene: _Scene) -> list[str]:
    """The prompt and the negative one, as the engine hands them to the text encoder."""
    prompt = factor.get("prompt_prefix", "") + scene.prompt + factor.get("prompt_suffix", "")
    return [prompt, scene.negative_prompt]


def _size(values: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
