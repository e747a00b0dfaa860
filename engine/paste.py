"""The paste way of editing (FG-DM, section 4): what an edited map brought anew goes onto the
picture that there was, and the seam around it is painted again. Pure functions of arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from fgdm.errors import RequestError
from PIL import Image, ImageFilter

Mask = npt.NDArray[np.bool_]
Rgb = npt.NDArray[np.uint8]

#: Of a seam that nobody gave: a fraction of the picture's shorter side.
_SEAM_FRACTION = 1 / 16
_WIDEST_SEAM = 64


def changed_pixels(before: Rgb, after: Rgb, size: tuple[int, int]) -> Mask:
    """Where two maps, (h, w, 3), differ, as (height, width) of a picture of that `size`.

    RequestError for maps of different sizes, and for such as do not differ.
    """
    if before.shape != after.shape:
        raise RequestError(
            f"the edited map is {_sides(after)}, but the inverted one {_sides(before)}; give the "
            "result of an edit of this inversion"
        )
    differ = (before != after).any(axis=2)
    if not differ.any():
        raise RequestError(
            "the edited map is the inverted one, so the picture has nothing to change; "
            "edit with a higher scale, or a lower threshold"
        )
    height, width = size
    rows = np.arange(height) * differ.shape[0] // height
    columns = np.arange(width) * differ.shape[1] // width
    enlarged: Mask = differ[rows[:, None], columns]
    return enlarged


def grown(mask: Mask, pixels: int) -> Mask:
    """The mask and all that is within so many pixels of it, in rows, columns and diagonals."""
    wide = Image.fromarray(mask.astype(np.uint8)).filter(ImageFilter.MaxFilter(2 * pixels + 1))
    within: Mask = np.asarray(wide) != 0
    return within


def check_seam(pixels: int | None, strength: float = 1.0) -> None:
    """RequestError for a seam of other than 1 to 64 pixels (None: as of `seam_around`), and for a
    strength of its noise of other than 0 to 1."""
    if pixels is not None and not 1 <= pixels <= _WIDEST_SEAM:
        raise RequestError(f"seam is {pixels}, expected 1 to {_WIDEST_SEAM} pixels")
    if not 0 <= strength <= 1:
        raise RequestError(f"strength is {strength:g}, expected 0 to 1")


def seam_around(changed: Mask, pixels: int | None = None) -> Mask:
    """Within so many pixels of the border of what changed, on both of its sides.

    pixels: as `check_seam` allows; None: a sixteenth of the shorter side, 64 at most.
    """
    wide = max(1, min(round(min(changed.shape) * _SEAM_FRACTION), _WIDEST_SEAM))
    if pixels is not None:
        check_seam(pixels)
        wide = pixels
    return grown(changed, wide) & grown(~changed, wide)


def pasted(picture: Rgb, painted: Rgb, changed: Mask) -> Rgb:
    """`picture` with what `painted` has where the map changed, all of (height, width, 3)."""
    return np.where(changed[..., None], painted, picture)


def _sides(picture: Rgb) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"
