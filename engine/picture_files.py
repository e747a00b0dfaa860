"""Pictures as files: those that a command's arguments name are read, results become PNG."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from fgdm.errors import RequestError
from fgdm.files import read_regular
from fgdm.values import Picture
from PIL import Image, ImageOps, UnidentifiedImageError

#: Bytes of a file that holds a picture.
_MOST_BYTES = 256 * 2**20

#: What else Pillow reads isn't made of pixels, or needs other programs.
_FORMATS = ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM"]

_NUMPY = b"\x93NUMPY"  # a .npy file begins with it


def read_picture(argument: str, file: str) -> Picture:
    """A picture as it is shown, or the array of a .npy file. RequestError if it is neither."""
    try:
        content = read_regular(Path(file), _MOST_BYTES)
        if content.startswith(_NUMPY):
            array: Picture = np.load(io.BytesIO(content), allow_pickle=False)
            return array
        with Image.open(io.BytesIO(content), formats=_FORMATS) as picture:
            return ImageOps.exif_transpose(picture)
    except UnidentifiedImageError:
        reason = f"it is no {', '.join(_FORMATS)} or .npy"
    except OSError as error:
        reason = error.strerror or str(error)
    except Exception as error:  # of damaged files
        reason = str(error)
    raise RequestError(f"can't read the picture {file!r} of {argument}: {reason:.200}")


def png(picture: Image.Image, compress_level: int = 6) -> bytes:
    """The picture as a PNG file in its own mode: class indices are 8-bit grey. compress_level: 0 to
    9, zlib's."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=compress_level)
    return buffer.getvalue()
