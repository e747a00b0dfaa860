"""diffusers' LEDITS++ pipeline on a bundle's own weights: the rival of edits by inversion."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, LEditsPPPipelineStableDiffusion, UNet2DConditionModel
from fgdm import Edit
from fgdm.export.reference import make_scheduler
from numpy.typing import NDArray
from PIL import Image
from transformers import CLIPTextModel, CLIPTokenizer


def load_pipeline(bundle: Path, scheduler: Mapping[str, Any]) -> Any:
    """diffusers' pipeline with SDE-DPM-Solver++, in float32 on the processor, silent.

    bundle: its folder, whose base the pipeline gets. scheduler: as the manifest has it.
    """
    load: dict[str, Any] = {"torch_dtype": torch.float32}
    pipeline = LEditsPPPipelineStableDiffusion(
        vae=AutoencoderKL.from_pretrained(bundle / "vae", **load),
        text_encoder=CLIPTextModel.from_pretrained(bundle / "text_encoder", dtype=torch.float32),
        tokenizer=CLIPTokenizer.from_pretrained(bundle / "tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(bundle / "unet", **load),
        scheduler=make_scheduler(scheduler, "dpmsolver++_sde"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


class Ledits:
    """Edits with `load_pipeline`. threads: of PyTorch."""

    def __init__(self, bundle: Path, scheduler: Mapping[str, Any], threads: int) -> None:
        torch.set_num_threads(threads)
        self._pipeline = load_pipeline(bundle, scheduler)

    def edit(
        self,
        image: NDArray[np.uint8],
        edits: Sequence[Edit],
        steps: int,
        skip: float,
        seed: int,
    ) -> Image.Image:
        """Inverts a picture and edits it.

        edits: with masks of the picture's size; the pipeline has one mask for all, here where any
        of them may act. steps, skip: as ``Engine.invert`` has them.
        """
        left_out = int(skip * steps + 0.5)
        taken = steps - left_out
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a picture that is smaller than those it expects
            self._pipeline.invert(
                Image.fromarray(image),
                num_inversion_steps=taken,
                skip=(left_out + 0.5) / taken,  # it takes whole steps of taken * (1 + skip)
                generator=torch.Generator().manual_seed(seed),
            )
            anywhere = np.zeros(image.shape[:2], bool)
            for edit in edits:
                anywhere |= np.asarray(edit.mask, bool)
            cells = image.shape[0] // self._pipeline.init_latents.shape[-2]
            where = torch.tensor(anywhere[::cells, ::cells], dtype=torch.float32)[None, None]
            made = self._pipeline(
                editing_prompt=[edit.prompt for edit in edits],
                reverse_editing_direction=[edit.direction == "-" for edit in edits],
                edit_guidance_scale=[edit.scale for edit in edits],
                edit_threshold=[edit.threshold for edit in edits],
                edit_warmup_steps=[0] * len(edits),
                user_mask=where,
                use_cross_attn_mask=False,
                use_intersect_mask=False,
            )
        image_made: Image.Image = made.images[0]
        return image_made
