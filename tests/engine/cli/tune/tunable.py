"""A bundle to tune whose quality and time follow from its settings, and what it holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from fgdm.errors import RequestError
from fgdm.manifest import MANIFEST, MANIFEST_HASH, hash_line
from PIL import Image

SCENES = Path(__file__).parents[4] / "bundles/scenes"
LABELS = np.zeros((4, 4), np.uint8)


class Clock:
    """The processor time of a process that nothing runs in but the fake engine."""

    def __init__(self) -> None:
        self.now = 0.0

    def process_time(self) -> float:
        return self.now


class FakeEngine:
    """A bundle whose maps lose a class below `enough` steps, and whose picture gets farther from
    the careful one with fewer steps and longer caches. Time is proportional to the steps."""

    def __init__(self, manifest: dict[str, Any], clock: Clock) -> None:
        self.manifest = manifest
        self.clock = clock
        self.enough = 5
        self.calls: list[dict[str, Any]] = []
        self.before_call: Callable[[int], None] = lambda number: None
        self.classes = ["dog", "sun", "tree"]
        self.info = SimpleNamespace(backend="cpu", to_json=lambda: {"backend": "cpu"})

    @property
    def has_segmenter(self) -> bool:
        return "segmenter" in self.manifest

    def need_segmenter(self, need: str) -> None:
        if not self.has_segmenter:
            raise RequestError(f"none that could {need}")

    def __enter__(self) -> FakeEngine:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def find_objects(self, prompt: str) -> Any:
        return SimpleNamespace(requested=[name for name in self.classes if name in prompt])

    def submit(self, prompt: str, **options: Any) -> Any:
        for name in options.get("objects", ()):
            if name not in self.classes:
                raise RequestError(f'objects names "{name}"')
        return SimpleNamespace(cancel=lambda: None, wait=lambda: None)

    def generate(self, prompt: str, **options: Any) -> Any:
        self.before_call(len(self.calls))
        self.calls.append({"prompt": prompt, **options})
        maps, image = self.manifest["factors"][0], self.manifest["factors"][-1]
        assert options.keys().isdisjoint({"condition_steps", "wave", "stop_at_recall"}), (
            "other factors would take them, too"
        )
        of_maps = options.get("factors", {}).get("segmentation", {})
        steps = of_maps.get("condition_steps", maps["num_inference_steps"])
        painted = options.get("num_inference_steps", image["num_inference_steps"])
        cache = options.get("cache_interval", image.get("cache_interval", 1))
        given = "map" in of_maps
        wave = of_maps.get("wave", 0) or options["candidates"]
        stops = of_maps.get("stop_at_recall", maps["stop_at_recall"]) > 0
        sampled = 0 if given else min(wave, options["candidates"]) if stops else 5
        self.clock.now += steps * sampled + painted * (1 if cache == 1 else 0.6)
        error = 40 // painted + 2 * (cache - 1)
        made = SimpleNamespace(labels=LABELS, map=Image.new("RGB", (4, 4)))
        return SimpleNamespace(
            recall=1.0 if steps >= self.enough else 0.5,
            factors={"segmentation": made},
            image=Image.new("RGB", (8, 8), (100 + error,) * 3),
        )


def write_manifest(bundle: Path, manifest: dict[str, Any]) -> None:
    """With its hash."""
    content = json.dumps(manifest).encode()
    (bundle / MANIFEST).write_bytes(content)
    (bundle / MANIFEST_HASH).write_bytes(hash_line(content))


def contents(bundle: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in bundle.iterdir()}


def factor(bundle: Path, name: str) -> dict[str, Any]:
    factors = json.loads((bundle / "manifest.json").read_text())["factors"]
    (found,) = [entry for entry in factors if entry["name"] == name]
    return dict(found)
