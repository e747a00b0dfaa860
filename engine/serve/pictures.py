"""Pictures as bytes: what is uploaded, and what is answered."""

from __future__ import annotations

import base64
import binascii
import io

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
    options = {} if form == "png" else {"quality": max(1, compression)}
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
    if not isinstance(text, str):
        raise wrong(param, f"{param} must be a picture in base64")
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        content = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise wrong(param, f"{param} isn't base64") from None
    return decode(content, param, most)
