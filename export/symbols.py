"""The symbols in a graph's shapes, and the numbers they stand for."""

from __future__ import annotations

import re

_SYMBOL = re.compile(r"(image_)?(height|width)(?:_div_(\d+))?")


def resolve(
    shape: tuple[int | str, ...],
    *,
    batch: int,
    height: int,
    width: int,
    downscale: int = 1,
    lora_rank: int = 1,
) -> tuple[int, ...]:
    """A shape with every symbol replaced.

    ``batch`` is the number of rows; ``height`` and ``width`` are the latent's, ``image_height`` and
    ``image_width`` the picture's, `downscale` times that; ``height_div_2`` is half the latent's
    height, and so for any stride; ``lora_rank`` is that of all LoRAs in use together.

    Raises:
        ValueError: a symbol is none of these, or a size can't be divided by its stride.
    """
    sizes = {"height": height, "width": width}

    def number(size: int | str) -> int:
        if isinstance(size, int):
            return size
        if size in ("batch", "lora_rank"):
            return batch if size == "batch" else lora_rank
        match = _SYMBOL.fullmatch(size)
        if match is None:
            raise ValueError(
                f"the size {size!r} is none of batch, height, width, image_height, image_width, "
                "lora_rank and height_div_N, width_div_N"
            )
        side = sizes[match[2]] * (downscale if match[1] else 1)
        stride = int(match[3] or 1)
        if stride == 0 or side % stride:
            raise ValueError(f"{match[2]} {side} can't be divided as {size} asks")
        return side // stride

    return tuple(number(size) for size in shape)
