#!/usr/bin/env bash
# diffusers resizes a PIL picture by Lanczos and the same picture as an array or a tensor by nearest neighbour.
#
# Packages: diffusers 0.42.1, torch 2.13.0, pillow 13.0.0.
# Documentation: VaeImageProcessor takes PIL pictures, arrays and tensors as equals and has an option "resample", "lanczos" by default, for
#   resizing; nothing says that it holds for PIL alone.
# Expected: nearly the same tensor for one picture in three types.
# Seen: noise shrunk from 64 to 32 keeps its whole spread (0.59) as an array or a tensor and loses half of it (0.26) as a PIL picture; the tensor
#   equals F.interpolate(mode="nearest") to the bit, so every second pixel is simply thrown away.
# For diffusion models: an img2img picture, a mask or a ControlNet's hint given as a tensor aliases; a port that compares itself with diffusers
#   must give the same type, at the final size.
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
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
array = (pixels / 255).astype(np.float32)[None]
tensor = torch.from_numpy(array).permute(0, 3, 1, 2)
processor = VaeImageProcessor()
print("resample:", processor.config.resample)
of_picture = processor.preprocess(Image.fromarray(pixels), height=32, width=32)
of_array = processor.preprocess(array, height=32, width=32)
of_tensor = processor.preprocess(tensor, height=32, width=32)
for name, value in (("PIL", of_picture), ("array", of_array), ("tensor", of_tensor)):
    print(f"{name:7} spread {value.std():.3f}, largest difference from PIL {(value - of_picture).abs().max():.2f}")
nearest = torch.nn.functional.interpolate(tensor, size=(32, 32), mode="nearest") * 2 - 1
if processor.config.resample != "lanczos":
    raise SystemExit("changed: another default")
if not torch.equal(of_tensor, nearest) or not torch.allclose(of_array, nearest, atol=1e-6):
    raise SystemExit("changed: arrays and tensors are resized otherwise now")
if of_picture.std() > 0.3:
    raise SystemExit("changed: PIL pictures are resized otherwise now")
print("as recorded: nearest neighbour for everything but PIL")
END
