"""Scenes rendered once and kept on disk: arrays that training maps into memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .captions import caption
from .render import render
from .world import sample_scene

CAPTION_VARIANTS = 3
_CHUNK = 500


@dataclass(frozen=True)
class SceneSet:
    """Rendered scenes of one size: images (n, S, S, 3) uint8, labels (n, L, L) uint8, captions."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    captions: list[list[str]]

    def __len__(self) -> int:
        return len(self.images)


def made_once(path: Path, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """The array of a .npy file, mapped into memory, which is made the first time."""
    if not path.exists():
        print(f"making {path.stem}", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.save(file, make())
        partial.replace(path)
    array: NDArray[Any] = np.load(path, mmap_mode="c")
    return array


def render_scenes(first_seed: int, count: int, image_size: int, map_size: int) -> SceneSet:
    """The scenes of `count` seeds from `first_seed`, rendered in this process."""
    images = np.empty((count, image_size, image_size, 3), np.uint8)
    labels = np.empty((count, map_size, map_size), np.uint8)
    captions = []
    for i in range(count):
        scene = sample_scene(first_seed + i)
        view = render(scene, image_size, geometry=False)
        images[i] = view.image
        same = image_size == map_size
        labels[i] = view.labels if same else render(scene, map_size, geometry=False).labels
        captions.append([caption(scene, variant) for variant in range(CAPTION_VARIANTS)])
    return SceneSet(images, labels, captions)


def scene_set(
    folder: Path, first_seed: int, count: int, image_size: int, map_size: int, workers: int
) -> SceneSet:
    """The scenes of `count` seeds from `first_seed`, rendered now or read from `folder`."""
    stem = folder / f"scenes-{first_seed}-{count}-{image_size}-{map_size}"
    paths = [stem.with_suffix(s) for s in (".images.npy", ".labels.npy", ".captions.json")]
    if not all(path.exists() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        jobs = [(first_seed + i, min(_CHUNK, count - i)) for i in range(0, count, _CHUNK)]
        images = np.empty((count, image_size, image_size, 3), np.uint8)
        labels = np.empty((count, map_size, map_size), np.uint8)
        captions: list[list[str]] = []
        with ProcessPoolExecutor(workers) as pool:
            results = pool.map(
                render_scenes,
                [job[0] for job in jobs],
                [job[1] for job in jobs],
                [image_size] * len(jobs),
                [map_size] * len(jobs),
            )
            for (first, n), chunk in zip(jobs, results, strict=True):
                at = first - first_seed
                images[at : at + n], labels[at : at + n] = chunk.images, chunk.labels
                captions += chunk.captions
                print(f"scenes: {at + n}/{count} at {image_size}×{image_size}", flush=True)
        for path, save in (
            (paths[0], lambda f: np.save(f, images)),
            (paths[1], lambda f: np.save(f, labels)),
            (paths[2], lambda f: f.write(json.dumps(captions).encode())),
        ):
            partial = path.with_name(path.name + ".partial")
            with open(partial, "wb") as file:
                save(file)
            partial.replace(path)
    return SceneSet(
        np.load(paths[0], mmap_mode="r"),
        np.load(paths[1], mmap_mode="r"),
        json.loads(paths[2].read_text()),
    )
