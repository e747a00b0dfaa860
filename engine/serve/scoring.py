"""What scores a bundle's pictures, so that one that lacks something is painted again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgdm import extras
from fgdm.errors import BackendError, RequestError
from PIL import Image

if TYPE_CHECKING:
    from fgdm.engine import Engine
    from fgdm.requirements import Requirements
    from fgdm.scorers import PictureScorer, Score

_log = logging.getLogger("fgdm.serve")


class Scoring:
    """A scorer with a thread of its own, on which pictures are scored one after another: neither
    the event loop nor an engine waits for it."""

    def __init__(self, scorer: PictureScorer) -> None:
        self._scorer = scorer
        self._thread = ThreadPoolExecutor(1, "fgdm-scorer")

    def begin(
        self, image: Image.Image, prompt: str, required: Requirements
    ) -> asyncio.Future[Score]:
        """For the event loop. Cancelled before its turn, nothing is run; later, what comes of it is
        dropped."""
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._thread, self._scorer, image, prompt, required)


def scoring_of(engine: Engine, scorer: PictureScorer | None = None) -> Scoring | None:
    """By a scorer, else by the bundle's own segmenter; None where it has none, or none that runs
    here, which is logged."""
    if scorer is None and engine.has_segmenter:
        try:
            engine.segment(_blank(engine))
        except BackendError as error:
            name = engine.info.bundle
            _log.warning("pictures of %s can't be looked at, so none is repainted: %s", name, error)
            return None
        scorer = engine.score
    return None if scorer is None else Scoring(scorer)


def named_segmenters(given: Sequence[str], names: Sequence[str]) -> dict[str, Path]:
    """Files of what is given as ``[NAME=]FILE``, by names of bundles. Raises RequestError for a
    name that isn't served, and for several files of one bundle."""
    found: dict[str, Path] = {}
    for entry in given:
        name, separator, file = entry.partition("=")
        if not separator or "/" in name:
            if len(names) > 1:
                raise RequestError(
                    f"the segmenter {entry} names no bundle; expected NAME=FILE with one of "
                    f"{', '.join(names)}, such as {names[0]}={entry}"
                )
            name, file = names[0], entry
        if name not in names:
            raise RequestError(
                f"the segmenter {file} is for {name or 'nothing'}, which isn't served; expected "
                f"NAME=FILE with one of {', '.join(names)}"
            )
        if name in found:
            raise RequestError(f"{name} has two segmenters, {found[name]} and {file}; keep one")
        found[name] = Path(file)
    return found


def load_segmenter(file: Path, engine: Engine, threads: int = 0) -> PictureScorer:
    """What scores the engine's pictures by an ONNX file, as of `SegmenterScorer`.

    It is run once, so that a file which doesn't fit is known before it is needed. threads: as of
    the engine. Raises RequestError where there is no file, or nothing to check; BackendError for a
    file that doesn't fit, and without fgdm[cpu].
    """
    scorers: Any = extras.load("fgdm.scorers", "cpu")
    if engine.palette is None:
        raise RequestError(
            f"the segmenter {file} checks classes, and bundle {engine.info.bundle} has no palette"
        )
    scorer = scorers.SegmenterScorer(file, engine.palette, threads=threads)
    try:
        scorer.labels(_blank(engine))
    except BackendError as error:
        raise BackendError(f"the segmenter {file} can't be used: {error}") from None
    made: PictureScorer = scorer
    return made


def _blank(engine: Engine) -> Image.Image:
    """A picture of the size that the bundle paints by itself, to try a segmenter with."""
    image = engine.manifest["factors"][-1]
    return Image.new("RGB", (image["width"], image["height"]))
