#!/usr/bin/env bash
# diffusers' inpainting forgets the picture when it is given latents: at every strength it begins with them alone.
#
# Packages: diffusers 0.42.1, torch 2.13.0, transformers 5.23.0.
# Documentation: `latents` are noise, to repeat one generation with other prompts; `strength` says how much of the reference picture is
#   changed, and only at 1 is it ignored.
# Expected: with the same noise given as latents or drawn by a generator, the same picture.
# Seen: at strength 0.5 latents are taken for the noised picture itself. Two different pictures, painted anew everywhere, come out equal to the
#   bit; drawn by a generator from the same seed, the noise is added to the picture, and they differ.
# For diffusion models: a port of img2img or inpainting that is compared with diffusers on given noise must hand it over by a generator; a
#   service that fixes latents for repeatable edits edits nothing but noise.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 pillow==13.0.0 torch==2.13.0 diffusers==0.42.1 transformers==5.23.0
cd "$place"
"$place/venv/bin/python" - <<'END'
import warnings

warnings.filterwarnings("ignore")
import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionInpaintPipeline, UNet2DConditionModel
from PIL import Image

torch.manual_seed(0)
blocks = {"block_out_channels": (32, 64), "layers_per_block": 1, "norm_num_groups": 8}
pipeline = StableDiffusionInpaintPipeline(
    vae=AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, **blocks
    ),
    text_encoder=None,
    tokenizer=None,
    unet=UNet2DConditionModel(
        sample_size=32,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=8,
        **blocks,
    ),
    scheduler=DDIMScheduler(clip_sample=False),
    safety_checker=None,
    feature_extractor=None,
    requires_safety_checker=False,
)
pipeline.set_progress_bar_config(disable=True)
noise = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(1))
everywhere = Image.new("L", (64, 64), 255)


def paint(color, **start):
    return pipeline(
        prompt_embeds=torch.zeros(1, 4, 16),
        image=Image.new("RGB", (64, 64), color),
        mask_image=everywhere,
        height=64,
        width=64,
        strength=0.5,
        num_inference_steps=10,
        guidance_scale=1.0,
        output_type="np",
        **start,
    ).images


def apart(**kinds):
    pictures = [paint(color, **{name: make() for name, make in kinds.items()}) for color in ("red", "navy")]
    return float(np.abs(pictures[0] - pictures[1]).max())


given = apart(latents=lambda: noise.clone())
drawn = apart(generator=lambda: torch.Generator().manual_seed(1))
print(f"largest difference of two pictures at strength 0.5: latents given {given:.4f}, noise drawn {drawn:.4f}")
if given != 0:
    raise SystemExit("changed: given latents are noise for the picture now")
if drawn < 0.01:
    raise SystemExit("changed: the picture is lost with drawn noise too")
print("as recorded: with latents the picture is ignored")
END
