"""The engine: a bundle goes in, requests become pictures. A thin, typed layer over the C++ core."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import fgdm._core as _core  # noqa: PLR0402 (absent, it must be named in the ImportError)
import numpy as np
import numpy.typing as npt
from fgdm import __version__, machine, request
from fgdm.errors import BundleError, RequestError
from fgdm.job import CallbackGuard, Job, complete
from fgdm.result import Color, EngineInfo, Result
from PIL import Image

StepCallback = Callable[[_core.StepInfo], "bool | None"]


class Engine:
    """A loaded bundle, which serves requests one after another. Any thread may use it.

    bundle: folder with a manifest.json, as ``fgdm export`` writes it.
    backend: "auto" (CUDA, then OpenVINO, then CPU, as installed), "cpu", "openvino" or "cuda".
    precision: "auto", "fp32", "bf16" or "fp16", the arithmetic of the networks.
    threads: of the runtime; 0 lets it choose. library: path of libonnxruntime; "" takes the one
    that $FGDM_ONNXRUNTIME names, else that of the installed onnxruntime wheel, else the system's.
    max_batch_rows: rows of one backbone call; larger requests run in parts.

    Raises BundleError for a missing, damaged or newer bundle, RequestError for an unknown backend
    or precision, BackendError where the runtime is missing or can't do what was asked.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        *,
        backend: str = "auto",
        precision: str = "auto",
        threads: int = 0,
        library: str | os.PathLike[str] = "",
        max_batch_rows: int = 32,
    ) -> None:
        folder = request.text("bundle", os.fspath(bundle))
        self._engine: _core.Engine | None = _core.Engine(
            folder,
            backend=request.text("backend", backend),
            precision=request.text("precision", precision),
            threads=request.required_integer("threads", threads),
            library=request.text("library", os.fspath(library)) or _find_library(backend),
            max_batch_rows=request.required_integer("max_batch_rows", max_batch_rows),
        )
        self._manifest: dict[str, Any] = json.loads(self._engine.manifest)
        self._palette_json = _read_palette(Path(folder), self._manifest)
        palette = json.loads(self._palette_json)
        self._colors: dict[str, Color] = {
            entry["name"]: tuple(entry["color"]) for entry in palette["classes"]
        }
        self.info = EngineInfo(
            version=__version__,
            bundle=str(self._manifest["name"]),
            backend=self._engine.backend,
            precision=self._engine.precision,
            runtime=self._engine.runtime,
        )

    @property
    def manifest(self) -> dict[str, Any]:
        """The bundle's manifest.json as parsed."""
        return self._manifest

    @property
    def load_seconds(self) -> float:
        """How long the core took to check and load the bundle."""
        return self._open().load_seconds

    @property
    def notes(self) -> list[str]:
        """Backends that "auto" passed over, and why."""
        return self._open().notes

    def find_objects(self, prompt: str) -> tuple[list[str], list[str]]:
        """The palette's classes that `prompt` names, and its content words that name none."""
        return _core.find_objects(self._palette_json, request.text("prompt", prompt))

    def generate(
        self,
        prompt: str,
        *,
        negative_prompt: str = "",
        objects: Sequence[str] | None = None,
        candidates: int = 10,
        seed: int | None = None,
        condition_steps: int | None = None,
        num_inference_steps: int | None = None,
        guidance: str | None = None,
        guidance_scale: float | None = None,
        condition_guidance_scale: float | None = None,
        segfree_scale: float | None = None,
        segfree_guidance_scale: float | None = None,
        segfree_start: float | None = None,
        controlnet_conditioning_scale: float | Sequence[float] | None = None,
        sampler: str = "ddim",
        min_area: float = 0.002,
        height: int | None = None,
        width: int | None = None,
        latents: npt.NDArray[np.float32] | None = None,
        condition_latents: npt.NDArray[np.float32] | None = None,
        control_images: Mapping[str, Image.Image | npt.NDArray[np.uint8]] | None = None,
        step_callback: StepCallback | None = None,
    ) -> Result:
        """Samples `candidates` maps, keeps the one with the best recall, and paints it.

        Takes the parameters of ``submit`` and waits. Ctrl-C cancels the request before
        KeyboardInterrupt passes on.
        """
        return complete(
            self.submit(
                prompt,
                negative_prompt=negative_prompt,
                objects=objects,
                candidates=candidates,
                seed=seed,
                condition_steps=condition_steps,
                num_inference_steps=num_inference_steps,
                guidance=guidance,
                guidance_scale=guidance_scale,
                condition_guidance_scale=condition_guidance_scale,
                segfree_scale=segfree_scale,
                segfree_guidance_scale=segfree_guidance_scale,
                segfree_start=segfree_start,
                controlnet_conditioning_scale=controlnet_conditioning_scale,
                sampler=sampler,
                min_area=min_area,
                height=height,
                width=width,
                latents=latents,
                condition_latents=condition_latents,
                control_images=control_images,
                step_callback=step_callback,
            )
        )

    def submit(
        self,
        prompt: str,
        *,
        negative_prompt: str = "",
        objects: Sequence[str] | None = None,
        candidates: int = 10,
        seed: int | None = None,
        condition_steps: int | None = None,
        num_inference_steps: int | None = None,
        guidance: str | None = None,
        guidance_scale: float | None = None,
        condition_guidance_scale: float | None = None,
        segfree_scale: float | None = None,
        segfree_guidance_scale: float | None = None,
        segfree_start: float | None = None,
        controlnet_conditioning_scale: float | Sequence[float] | None = None,
        sampler: str = "ddim",
        min_area: float = 0.002,
        height: int | None = None,
        width: int | None = None,
        latents: npt.NDArray[np.float32] | None = None,
        condition_latents: npt.NDArray[np.float32] | None = None,
        control_images: Mapping[str, Image.Image | npt.NDArray[np.uint8]] | None = None,
        step_callback: StepCallback | None = None,
    ) -> Job:
        """Starts a request and returns at once. None stands for the bundle's default.

        negative_prompt: what classifier-free guidance steers away from.
        objects: the classes that recall counts; None takes them from the prompt.
        candidates: how many maps to sample. seed: 0 to 2^64 - 1; None draws one and reports it.
        condition_steps, num_inference_steps: sampling steps of the maps and of the image.
        guidance: of the image, "segfree" (segmentation-free from `segfree_start` on) or "cfg".
        guidance_scale, condition_guidance_scale: g in ε = ε_neg + g (ε_pos - ε_neg), of the image
        and of the maps; the papers' w is g - 1.
        segfree_scale: a; the strongest token of each patch is weighted by -a in the negative
        branch. segfree_guidance_scale: g of those steps. segfree_start: the fraction of the steps
        before them, 0 to 1 (segmentation-free guidance paper, section 3).
        controlnet_conditioning_scale: weight of what the image is painted from; one for each
        network that sees a map or control image, or one for all.
        sampler: "ddim" or "dpmsolver++". min_area: the fraction of a map, 0 to 1, from which on a
        class counts as found. height, width: of the image in pixels; maps have half of each.
        latents: (1, 4, h, w), condition_latents: (candidates, 4, h, w), float32: the noise to start
        from instead of the seed's; h and w are latent cells.
        control_images: what networks of the image factor paint from that no factor of the bundle
        makes, by condition: RGB pictures, or (height, width, 3) uint8, of the image's size.
        step_callback: called on the engine's thread after every step with a StepInfo, which is
        valid during the call; returning True stops the request (CancelledError).

        Raises RequestError at once for an argument that isn't allowed, with what is.
        """
        engine = self._open()
        guard = None if step_callback is None else CallbackGuard(step_callback)
        core_job = engine.submit(
            request.text("prompt", prompt),
            negative_prompt=request.text("negative_prompt", negative_prompt),
            objects=request.texts("objects", objects),
            candidates=request.required_integer("candidates", candidates),
            seed=request.integer("seed", seed, seed=True),
            condition_steps=request.integer("condition_steps", condition_steps),
            num_inference_steps=request.integer("num_inference_steps", num_inference_steps),
            guidance=None if guidance is None else request.text("guidance", guidance),
            guidance_scale=request.real("guidance_scale", guidance_scale),
            condition_guidance_scale=request.real(
                "condition_guidance_scale", condition_guidance_scale
            ),
            segfree_scale=request.real("segfree_scale", segfree_scale),
            segfree_guidance_scale=request.real("segfree_guidance_scale", segfree_guidance_scale),
            segfree_start=request.real("segfree_start", segfree_start),
            controlnet_conditioning_scale=request.reals(
                "controlnet_conditioning_scale", controlnet_conditioning_scale
            ),
            sampler=request.text("sampler", sampler),
            min_area=request.required_real("min_area", min_area),
            height=request.integer("height", height),
            width=request.integer("width", width),
            latents=request.array("latents", latents),
            condition_latents=request.array("condition_latents", condition_latents),
            control_images=request.pictures("control_images", control_images),
            step_callback=guard,
        )
        return Job(
            core_job,
            lambda core: Result.from_core(core, prompt, self.info, self._colors),
            guard,
        )

    def close(self) -> None:
        """Cancels what is queued or running and gives the networks back. May be called twice."""
        self._engine = None

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> _core.Engine:
        if self._engine is None:
            raise RequestError("this engine is closed; open the bundle again with fgdm.Engine(...)")
        return self._engine


def _find_library(backend: str) -> str:
    """The installed wheel's libonnxruntime; "" leaves the choice to the core."""
    if os.environ.get("FGDM_ONNXRUNTIME"):
        return ""
    return machine.choose_library(machine.find_runtimes(), backend)


def _read_palette(bundle: Path, manifest: dict[str, Any]) -> str:
    """The palette of the map that the image is painted from, which the core has checked."""
    palettes = {entry["name"]: entry["palette"] for entry in manifest["factors"][:-1]}
    networks = manifest["factors"][-1]["conditionings"]
    painted_from = next(n["condition"] for n in networks if n["condition"] in palettes)
    path = bundle / str(palettes[painted_from])
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"can't read {path}: {error}; export the bundle again") from None
