"""Runs one method of `benchmarks.methods` on one prompt, timed as its user would wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fgdm import Engine, Result, repaint
from fgdm.train.figures import MIN_AREA, label_recall
from fgdm.train.prompts import HeldOutPrompt
from fgdm.train.segmenter import Segmenter, segment
from numpy.typing import NDArray

from benchmarks.attend_and_excite import attend_and_excite, subject_tokens
from benchmarks.base import paint_base, write_base_bundle
from benchmarks.methods import PAPER_STEPS, Method
from benchmarks.rival import DTYPES, DiffusersChain

_CPU = torch.device("cpu")


class Clock:
    """What has passed since it was made."""

    def __init__(self) -> None:
        self._began, self._worked = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Seconds, and those that the threads of this process worked, added up."""
        return time.perf_counter() - self._began, time.process_time() - self._worked


@dataclass(frozen=True)
class Outcome:
    """What a method made of a prompt.

    seconds: until the picture was there, and what the processor worked for it, which other work on
    the machine hardly changes. picture: (H, W, 3). recalls: of the candidates that were
    sampled to the end: maps by their own recall, several images by the segmenter's. map_recall: of
    the chosen map, whose labels are `labels`, (h, w). map_rows: backbone rows spent on maps, if the
    engine counts them.
    """

    seconds: tuple[float, float]
    picture: NDArray[np.uint8]
    recalls: tuple[float, ...] = ()
    map_recall: float | None = None
    map_rows: int | None = None
    labels: NDArray[np.uint8] | None = None


class Systems:
    """Every system of the comparison on one bundle: same weights, threads and precision.

    The engine decides on the precision; PyTorch follows. Steps and guidance scale of the base's
    images are the image factor's.
    """

    def __init__(
        self, bundle: Path, scratch: Path, segmenter: Segmenter, threads: int, **engine: Any
    ) -> None:
        torch.set_num_threads(threads)
        self.segmenter = segmenter
        self.engine = Engine(bundle, threads=threads, **engine)
        base = write_base_bundle(bundle, scratch / "base")
        self.base_engine = Engine(base, threads=threads, **engine)
        info = self.engine.info
        self.runtime = f"{info.runtime} {info.backend} {info.precision}"
        dtype = DTYPES[info.precision]
        manifest = self.engine.manifest
        self.chain = DiffusersChain(bundle, manifest, dtype, channels_last=dtype != torch.float32)
        self.torch_runtime = f"torch {torch.__version__} {info.precision}"
        self._image = manifest["factors"][-1]
        side = manifest["autoencoder"]["downscale"]
        self._latent = (4, self._image["height"] // side, self._image["width"] // side)

    def close(self) -> None:
        """Give both engines' networks back."""
        self.engine.close()
        self.base_engine.close()

    def run(self, method: Method, prompt: HeldOutPrompt, seed: int) -> Outcome:
        """One prompt through one method. The base's images start from the same noise everywhere."""
        runs: dict[str, Callable[[Method, HeldOutPrompt, int], Outcome]] = {
            "fgdm": self._fgdm,
            "base": self._base,
            "diffusers": self._diffusers,
            "attend_and_excite": self._excite,
        }
        return runs[method.system](method, prompt, seed)

    def seen(self, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Labels (n, h, w) of (n, H, W, 3) pictures, by the segmenter."""
        return segment(self.segmenter, pictures, _CPU)

    def _fgdm(self, method: Method, prompt: HeldOutPrompt, seed: int) -> Outcome:
        options: dict[str, Any] = {
            "objects": prompt.things,
            "candidates": method.candidates,
            "min_area": MIN_AREA,
            "seed": seed,
            **method.options,
        }
        clock = Clock()
        result: Result = (
            repaint.generate(self.engine, prompt.prompt, repaint=method.repaint, **options)
            if method.repaint
            else self.engine.generate(prompt.prompt, **options)
        )
        seconds = clock.read()
        # A map that was dropped has the recall of a preview, which is no sample of the method's.
        whole = [c for c in result.candidates if not c.pruned]
        recalls = tuple(candidate.recall for candidate in whole)
        picture = np.asarray(result.image)
        # A map is chosen by the area that the image still paints; all are measured alike.
        found = label_recall(result.labels, prompt.things)
        return Outcome(seconds, picture, recalls, found, result.map_rows, result.labels)

    def _base(self, method: Method, prompt: HeldOutPrompt, seed: int) -> Outcome:
        noise = self._noise(method.candidates, seed)
        options = {"condition_steps": PAPER_STEPS, **method.options, "seed": seed}
        return self._choose(
            lambda: paint_base(self.base_engine, prompt.prompt, noise, **options), prompt
        )

    def _diffusers(self, method: Method, prompt: HeldOutPrompt, seed: int) -> Outcome:
        noise = torch.from_numpy(self._noise(method.candidates, seed))
        return self._choose(
            lambda: self.chain.base_pictures(prompt.prompt, noise, *self._sampling()), prompt
        )

    def _excite(self, method: Method, prompt: HeldOutPrompt, seed: int) -> Outcome:
        noise = torch.from_numpy(self._noise(1, seed))
        clock = Clock()
        subjects = subject_tokens(
            prompt.prompt,
            prompt.things,
            lambda word: self.chain.tokenizer(word, add_special_tokens=False).input_ids,
            lambda word: self.engine.find_objects(word)[0],
        )
        picture = attend_and_excite(self.chain, prompt.prompt, subjects, noise, *self._sampling())
        return Outcome(clock.read(), picture)

    def _choose(self, paint: Callable[[], NDArray[np.uint8]], prompt: HeldOutPrompt) -> Outcome:
        """Of several images the one that the segmenter finds most in; that is part of the time."""
        clock = Clock()
        pictures = paint()
        seen = self.seen(pictures) if len(pictures) > 1 else ()
        recalls = tuple(label_recall(labels, prompt.things) for labels in seen)
        best = int(np.argmax(recalls)) if recalls else 0
        return Outcome(clock.read(), pictures[best], recalls)

    def _sampling(self) -> tuple[int, float]:
        return PAPER_STEPS, self._image["guidance_scale"]

    def _noise(self, count: int, seed: int) -> NDArray[np.float32]:
        return np.random.default_rng(seed).standard_normal((count, *self._latent), np.float32)
