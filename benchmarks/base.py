"""The base model alone in the engine's own runtime: N images of a prompt, with no map at all.

The image factor of a bundle always runs its ControlNet, and paints one image at a time. The base
must not pay for either when it is compared with. So it gets a bundle of its own: the same graphs,
and a first factor of the image's size with no conditioning network. The N candidates of that factor
are N images of the base, batched by the same core, through the same sessions, precision and
threads. Its image factor never runs: the request stops once the candidates are there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from fgdm.errors import CancelledError
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fgdm import Engine, StepInfo


def write_base_bundle(bundle: Path, folder: Path) -> Path:
    """Copy a bundle to `folder`, which becomes the base's; see above. Its factor samples by DDIM in
    the schedule's spacing, whatever the bundle's image does by itself."""
    shutil.copytree(bundle, folder, ignore=shutil.ignore_patterns("plans", "manifest.*"))
    manifest = json.loads((bundle / "manifest.json").read_text())
    condition = next(factor for factor in manifest["factors"] if "palette" in factor)
    image = manifest["factors"][-1]
    shared = ("height", "width", "num_inference_steps", "guidance_scale")
    base = {key: image[key] for key in shared}
    base |= {key: image[key] for key in ("prompt_prefix", "prompt_suffix") if key in image}
    base |= {"name": condition["name"], "kind": "condition", "palette": condition["palette"]}
    base["sampler"] = "ddim"
    manifest["factors"] = [base | {"conditionings": [], "guidance": "cfg"}, image]
    text = json.dumps(manifest, indent=1).encode()
    (folder / "manifest.json").write_bytes(text)
    digest = hashlib.sha256(text).hexdigest()
    (folder / "manifest.sha256").write_text(f"{digest}  manifest.json\n")
    return folder


def paint_base(
    engine: Engine, prompt: str, latents: NDArray[np.float32], **options: Any
) -> NDArray[np.uint8]:
    """The base's images (N, H, W, 3) of (N, 4, h, w) noise, classifier-free guidance.

    engine: of a bundle that `write_base_bundle` wrote. options: as of a map, `condition_steps`
    among them. An image is the decoded prediction of x₀ of the last step, which DDIM would return
    up to the noise level of timestep 0.
    """
    pictures: dict[int, NDArray[np.uint8]] = {}

    def collect(info: StepInfo) -> bool:
        if info.step + 1 == info.num_steps:
            pictures.update({index: info.preview(index) for index in info.candidates})
        return len(pictures) == len(latents)

    try:
        engine.generate(
            prompt,
            objects=[],
            candidates=len(latents),
            condition_latents=latents,
            step_callback=collect,
            **options,
        )
    except CancelledError:
        if len(pictures) != len(latents):
            raise
    return np.stack([pictures[index] for index in range(len(latents))])
