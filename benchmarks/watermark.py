"""What the invisible watermark stands: the share of pictures whose text is still read.

python -m benchmarks.watermark bundles/scenes --count 6 --output benchmarks/results/watermark.json

A bundle's pictures of held-out prompts, as it paints them and enlarged, are marked and changed as
sites change them. A picture that was halved is read after it was resized back, as `fgdm watermark
--size` does. PSNR is of the marked picture against the one before. Sizes below the least that fgdm
takes are marked all the same, which shows why it doesn't take them.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import fgdm
import numpy as np
from fgdm import watermark
from PIL import Image, ImageFilter

from benchmarks.command import add_prompts, chosen_prompts, engine_options, make_parser
from benchmarks.machine import write_results

_TEXT = "fgdm bench"


def recoded(form: str, **options: Any) -> Callable[[Image.Image], Image.Image]:
    """Saves a picture and opens it again."""

    def change(picture: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        picture.save(buffer, form, **options)
        with Image.open(buffer) as opened:
            made: Image.Image = opened.convert("RGB")
        return made

    return change


def halved(picture: Image.Image) -> Image.Image:
    """Half as large, and back."""
    small = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS)
    return small.resize(picture.size, Image.Resampling.LANCZOS)


def cropped(picture: Image.Image) -> Image.Image:
    """Without a twentieth at each side, so that blocks lie elsewhere."""
    x, y = picture.width // 20, picture.height // 20
    return picture.crop((x, y, picture.width - x, picture.height - y))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "PNG": recoded("PNG"),
    "JPEG 90": recoded("JPEG", quality=90),
    "JPEG 75": recoded("JPEG", quality=75),
    "JPEG 50": recoded("JPEG", quality=50),
    "resized by .5": halved,
    "blurred by 1 pixel": lambda picture: picture.filter(ImageFilter.GaussianBlur(1)),
    "cropped to .9": cropped,
}


def measure(pictures: list[Image.Image]) -> dict[str, Any]:
    """The figures of pictures of one size."""
    mark = watermark.Watermark(_TEXT)
    read = dict.fromkeys(CHANGES, 0)
    decibels, seconds, flat = [], 0.0, 0
    for picture in pictures:
        began = time.perf_counter()
        try:
            marked = mark.mark(picture)
        except fgdm.RequestError:
            flat += 1
            continue
        seconds += time.perf_counter() - began
        decibels.append(psnr(picture, marked))
        for name, change in CHANGES.items():
            read[name] += watermark.read_watermark(change(marked)) == _TEXT
    found = sum(watermark.read_watermark(picture) is not None for picture in pictures)
    return {
        "pictures": len(pictures),
        "refused": flat,
        "read": {name: count / len(pictures) for name, count in read.items()},
        "found_in_unmarked": found,
        "psnr": float(np.mean(decibels)) if decibels else None,
        "seconds": seconds / max(1, len(decibels)),
    }


def psnr(before: Image.Image, after: Image.Image) -> float:
    """Peak signal-to-noise ratio in decibels, of 8-bit RGB pictures that differ."""
    difference = np.asarray(before, np.float64) - np.asarray(after, np.float64)
    return float(10.0 * np.log10(255.0**2 / (difference**2).mean()))


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    add_prompts(parser)
    parser.add_argument("--count", type=int, default=6, help="pictures of each size")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--steps", type=int, default=10, help="of maps and of pictures")
    given = parser.parse_args(arguments)
    prompts = chosen_prompts(given)[: given.count]
    rows: dict[str, Any] = {}
    with fgdm.Engine(given.bundle, **engine_options(given)) as engine:
        painted = [
            engine.generate(
                prompt.prompt,
                seed=seed,
                candidates=1,
                condition_steps=given.steps,
                num_inference_steps=given.steps,
            ).image
            for seed, prompt in enumerate(prompts)
        ]
    for size in given.sizes:
        pictures = [one.resize((size, size), Image.Resampling.LANCZOS) for one in painted]
        with mock.patch.object(watermark, "LEAST_PIXELS", 0):
            rows[str(size)] = row = measure(pictures)
        cells = [f"{name} {share:.2f}" for name, share in row["read"].items()]
        quality = f"PSNR {row['psnr']:.1f} dB" if row["psnr"] else ""
        refused = f"refused {row['refused']}"
        print(size, *cells, refused, quality, f"{row['seconds']:.2f} s", sep="  ", flush=True)
    settings = {"count": given.count, "steps": given.steps, "text": _TEXT}
    write_results(given.output, {**settings, "sizes": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
