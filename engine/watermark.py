"""An invisible watermark in a picture: a short text that stays when the file is converted.

    from fgdm.watermark import Watermark, read_watermark

    marked = Watermark("my service").mark(picture)
    read_watermark(marked)  # "my service"

blind-watermark writes the bits into the largest singular values of 4x4 blocks of the picture's
wavelet transform, each bit many times. docs/provenance.md says what it stands. Needs
``fgdm[watermark]``. Whoever has this library can read the mark, take it out, and put it in.
"""

from __future__ import annotations

import multiprocessing
import threading
import zlib
from functools import cache
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
from fgdm.errors import BackendError, RequestError
from PIL import Image

#: Bytes of a text in UTF-8.
MOST_BYTES = 12
#: Of a picture; in a smaller one JPEG at quality 90 breaks the bits (benchmarks/watermark.py).
LEAST_PIXELS = 256 * 256

#: The text, filled up with zeros, and its CRC-32, which tells a mark from none.
_BITS = 8 * (MOST_BYTES + 4)

_importing = threading.Lock()


class Watermark:
    """Puts `text` into pictures: 1 to 12 bytes of UTF-8, without the character 0.

    Raises RequestError for another text, BackendError without ``fgdm[watermark]``.
    """

    def __init__(self, text: str) -> None:
        content = text.encode("utf-8", "surrogatepass")
        if not 1 <= len(content) <= MOST_BYTES or b"\0" in content or not text.isprintable():
            raise RequestError(
                f"watermark is {text!r:.100}, {len(content)} bytes in UTF-8; expected 1 to "
                f"{MOST_BYTES} bytes of printable text"
            )
        self.text = text
        padded = content.ljust(MOST_BYTES, b"\0")
        framed = padded + zlib.crc32(padded).to_bytes(4, "big")
        self._bits = np.unpackbits(np.frombuffer(framed, np.uint8)).astype(bool)
        _library()

    def check_size(self, width: int, height: int) -> None:
        """Raises RequestError for pictures that are too small to keep the mark in a JPEG."""
        if width * height < LEAST_PIXELS:
            raise RequestError(
                f"height is {height} and width is {width}; a picture with a watermark needs "
                f"{LEAST_PIXELS} pixels or more, such as 256x256: ask for a larger one"
            )

    def mark(self, picture: Image.Image) -> Image.Image:
        """The picture with the mark, RGB, read back to be sure.

        Takes 0.4 s of a core at 256x256, on the thread that calls. Raises RequestError for a
        picture that is too small, or that can't carry the mark, as one that is all white can't.
        """
        self.check_size(picture.width, picture.height)
        marker = _library().WaterMark(password_wm=1, password_img=1)
        marker.read_img(img=_blue_first(picture))
        marker.read_wm(self._bits.copy(), mode="bit")
        pixels = np.rint(marker.embed()).clip(0, 255).astype(np.uint8)[:, :, ::-1]
        marked = Image.fromarray(np.ascontiguousarray(pixels))
        if read_watermark(marked) != self.text:
            raise RequestError(
                "the picture is too flat to carry the watermark, which couldn't be read back; "
                "take another seed, or a larger picture"
            )
        return marked


def read_watermark(picture: Image.Image) -> str | None:
    """The text of the mark that a picture has, None where none is found.

    A picture that was resized is to be resized back first; of one that was cropped nothing is
    found. Of pictures without a mark one in four thousand millions seems to have one. Raises
    BackendError without ``fgdm[watermark]``.
    """
    marker = _library().WaterMark(password_wm=1, password_img=1)
    if picture.width * picture.height < LEAST_PIXELS:
        return None
    means: npt.NDArray[np.float64] = marker.bwm_core.extract(_blue_first(picture), _BITS)
    if means.min() == means.max():  # of which no two kinds of bits can be told
        return None
    marker.wm_size = _BITS
    bits = marker.extract_decrypt(_library().bwm_core.one_dim_kmeans(means))
    content = np.packbits(bits.astype(bool)).tobytes()
    padded, told = content[:MOST_BYTES], int.from_bytes(content[MOST_BYTES:], "big")
    if zlib.crc32(padded) != told:
        return None
    try:
        text = padded.rstrip(b"\0").decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() and text else None


def _blue_first(picture: Image.Image) -> npt.NDArray[np.uint8]:
    """(height, width, 3) uint8 in the order of the library's colours."""
    pixels = np.asarray(picture.convert("RGB"), np.uint8)
    return np.ascontiguousarray(pixels[:, :, ::-1])


@cache
def _library() -> Any:
    """blind-watermark without what it does to the process when it is imported: it prints a
    welcome, and makes "fork" the way that all of multiprocessing starts, or fails where another
    was chosen (findings/blind-watermark-chooses-fork.sh)."""
    with _importing, mock.patch.object(multiprocessing, "set_start_method"):
        try:
            import blind_watermark  # noqa: PLC0415 (an extra, and slow)
            import blind_watermark.bwm_core  # noqa: PLC0415
        except ImportError as error:
            raise BackendError(
                f"a watermark needs blind-watermark, which can't be imported ({error!s:.200}); "
                "run: pip install 'fgdm[watermark]'"
            ) from error
    blind_watermark.bw_notes.close()
    return blind_watermark
