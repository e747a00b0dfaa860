"""Pictures as bytes: what is uploaded, and what is answered."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import wrong

#: Of an uploaded picture.
_MOST_PIXELS = 64 * 2**20
_FORMATS = ["PNG", "JPEG", "WEBP"]
#: By the names that requests have.
MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


def encode(picture: Image.Image, form: str, compression: int) -> bytes:
    """form: of MEDIA_TYPES. compression: 0 to 100, of JPEG and WebP, where 100 is the best."""
    buffer = io.BytesIO()
    # zlib's third level takes 2.5 times less time than its usual sixth, for a tenth more bytes.
    options = {"compress_level": 3} if form == "png" else {"quality": max(1, compression)}
    picture.convert("RGB").save(buffer, form.upper(), **options)
    return buffer.getvalue()


def in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def decode(content: bytes, param: str, most: int = _MOST_PIXELS) -> Image.Image:
    """An uploaded picture as it is shown, with alpha if it has some. most: pixels, which are
    checked before it is decoded. ApiError (400) otherwise."""
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as picture:
            if picture.width * picture.height > most:
                raise wrong(
                    param,
                    f"{param} has {picture.width}x{picture.height} pixels; expected at most {most}",
                )
            picture.load()
            return ImageOps.exif_transpose(picture)
    except UnidentifiedImageError:
        raise wrong(param, f"{param} is none of {', '.join(_FORMATS)}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise wrong(param, f"{param} can't be read as {', '.join(_FORMATS)}: {error}") from None


def from_base64(text: object, param: str, most: int = _MOST_PIXELS) -> Image.Image:
    """A picture in a JSON body, with or without a ``data:`` prefix."""
    return decode(bytes_of(text, param), param, most)


def bytes_of(text: object, param: str) -> bytes:
    """Of a picture's file in a JSON body, with or without a ``data:`` prefix. ApiError (400) for
    what isn't base64."""
    if not isinstance(text, str):
        raise wrong(param, f"{param} must be a picture in base64")
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise wrong(param, f"{param} isn't base64") from None


def labels(content: bytes, param: str, most: int) -> NDArray[np.uint8]:
    """Class indices, uint8 (h, w), of an 8-bit grey PNG of at most so many pixels. ApiError (400)
    otherwise."""
    picture = decode(content, param, most)
    if picture.mode != "L":
        raise wrong(param, f"{param} must be an 8-bit grey PNG, got Pillow's mode {picture.mode}")
    return np.asarray(picture)


def map_of(
    options: Mapping[str, Any], place: str, most: int
) -> Image.Image | NDArray[np.uint8] | None:
    """The map that a factor's options bring in base64: ``map``, RGB, or ``labels``, class indices
    as 8-bit grey PNG; None without one. place: of the options. most: pixels. ApiError (400)."""
    picture, indices = options.get("map"), options.get("labels")
    if indices is None:
        if picture is None:
            return None
        return from_base64(picture, f"{place}.map", most).convert("RGB")
    param = f"{place}.labels"
    if picture is not None:
        raise wrong(param, f"{place} has labels and map, which are two forms of one map; give one")
    return labels(bytes_of(indices, param), param, most)
