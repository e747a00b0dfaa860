"""Arrays between PyTorch and an engine on one device, in both directions, against the host's; and
an engine on PyTorch's stream, and on a second card.

python -m gpu.arrays --backend cuda --output arrays.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fgdm import Engine, RequestError, Result
from fgdm.manifest import MANIFEST, MANIFEST_HASH, hash_line
from fgdm.statistics import psnr
from torch.utils.dlpack import from_dlpack

from benchmarks.machine import write_results
from gpu.parity import BUNDLE, LEAST, PROMPTS, off_device

QUICK: dict[str, Any] = {"seed": 3, "candidates": 2, "condition_steps": 3, "num_inference_steps": 4}
#: What the ControlNet of `painted_from_control_images` sees.
CONDITION = "segmentation"


def painted_from_control_images(folder: Path) -> Path:
    """The shipped bundle without its maps, in a new folder: requests bring the control image."""

    def link(source: str, target: str) -> str:
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)
        return target

    bundle = folder / "control"
    shutil.copytree(BUNDLE, bundle, copy_function=link)
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    manifest["factors"] = manifest["factors"][-1:]
    manifest.pop("segmenter", None)
    content = json.dumps(manifest).encode()
    for name, changed in ((MANIFEST, content), (MANIFEST_HASH, hash_line(content))):
        (bundle / name).unlink()  # it may be the shipped one
        (bundle / name).write_bytes(changed)
    return bundle


def _late(values: np.ndarray[Any, Any], device: str) -> torch.Tensor:
    """The values on a device, where PyTorch's current stream is still busy before it has them."""
    if device == "cpu":
        return torch.from_numpy(values.copy())
    on_device = torch.from_numpy(values).to(device)
    made = torch.zeros_like(on_device)
    cuda: Any = torch.cuda
    cuda._sleep(100_000_000)
    return made.copy_(on_device)


def _alike(name: str, made: Result, expected: Result) -> None:
    found = psnr(np.asarray(made.image), np.asarray(expected.image))
    assert found >= LEAST, f"{name}: {found:.1f} dB from the picture of an array on the host"


def check_image(engine: Engine, device: str) -> None:
    """A picture that stays is the one that is copied, whichever stream looks at it."""
    expected = engine.generate(PROMPTS[0], **QUICK)
    result = engine.generate(PROMPTS[0], keep_on_device=True, **QUICK)
    stream = contextlib.nullcontext() if device == "cpu" else torch.cuda.stream(torch.cuda.Stream())
    with stream:
        picture = from_dlpack(result.image_device)
        copied = picture.clone().cpu().numpy()
        latents = from_dlpack(result.latents_device).cpu()
    assert picture.device.type == device, f"the picture lies on {picture.device}"
    assert (copied == np.asarray(result.image)).all(), "image_device isn't image"
    assert torch.isfinite(latents).all() and latents.shape[:2] == (1, 4), "the latents aren't sound"
    _alike("keep_on_device", result, expected)


def check_start(engine: Engine, device: str) -> None:
    """A picture to begin with, and the mask and noise beside it."""
    spec = engine.manifest["factors"][-1]
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (spec["height"], spec["width"], 3), dtype=np.uint8)
    mask = np.zeros(picture.shape[:2], bool)
    mask[: len(mask) // 2] = True
    expected = engine.generate(PROMPTS[0], image=picture, mask=mask, **QUICK)
    given: dict[str, Any] = {"image": _late(picture, device), "mask": _late(mask, device)}
    for keep in (False, True):
        made = engine.generate(PROMPTS[0], keep_on_device=keep, **given, **QUICK)
        _alike("image", made, expected)
        assert (np.asarray(made.image)[~mask] == picture[~mask]).all(), "the mask keeps nothing"


def check_latents(engine: Engine, device: str) -> None:
    """Noise of the image and of the maps."""
    rng = np.random.default_rng(2)
    scale = engine.manifest["autoencoder"]["downscale"]
    sizes = {name: engine.manifest["factors"][place] for name, place in (("latents", -1), ("c", 0))}
    image, maps = (
        rng.standard_normal(
            (rows, 4, sizes[name]["height"] // scale, sizes[name]["width"] // scale), np.float32
        )
        for name, rows in (("latents", 1), ("c", QUICK["candidates"]))
    )
    expected = engine.generate(PROMPTS[0], latents=image, condition_latents=maps, **QUICK)
    made = engine.generate(
        PROMPTS[0],
        latents=_late(image, device),
        condition_latents=_late(maps, device),
        **QUICK,
    )
    assert made.chosen == expected.chosen, "another map was chosen"
    _alike("latents", made, expected)


def check_control_image(backend: str, device: str) -> None:
    """A control image, which stays in use after the caller has dropped it."""
    rng = np.random.default_rng(3)
    with tempfile.TemporaryDirectory() as scratch:
        bundle = painted_from_control_images(Path(scratch))
        with Engine(bundle, backend=backend) as engine:
            spec = engine.manifest["factors"][-1]
            picture = rng.integers(0, 256, (spec["height"], spec["width"], 3), dtype=np.uint8)
            options: dict[str, Any] = {"seed": 3, "num_inference_steps": 4}
            expected = engine.generate(PROMPTS[0], control_images={CONDITION: picture}, **options)
            other = engine.generate(
                PROMPTS[0], control_images={CONDITION: 255 - picture}, **options
            )
            assert other.image.tobytes() != expected.image.tobytes(), "it isn't looked at"
            job = engine.submit(
                PROMPTS[0], control_images={CONDITION: _late(picture, device)}, **options
            )
            torch.zeros(picture.shape, dtype=torch.uint8, device=device)  # where it was, if it went
            _alike("control_images", job.result(), expected)


def check_lifetime(backend: str, device: str) -> None:
    """A tensor is sound after its engine was closed."""
    with Engine(BUNDLE, backend=backend) as engine:
        result = engine.generate(PROMPTS[0], keep_on_device=True, **QUICK)
        tensor = from_dlpack(result.image_device)
        before = tensor.cpu().numpy().copy()
    del result, engine
    assert (tensor.to(device).cpu().numpy() == before).all(), "closing the engine took the picture"


def check_stream(engine: Engine, backend: str, device: str) -> None:
    """A caller's stream takes the engine's work after what it has to do already."""
    if device == "cpu":
        try:
            Engine(BUNDLE, backend=backend, stream=1 << 20)
        except RequestError as error:
            assert "stream is a CUDA stream" in str(error), str(error)
            return
        raise AssertionError("the processor took a stream")
    cuda: Any = torch.cuda
    stream = cuda.Stream()
    expected = engine.generate(PROMPTS[0], **QUICK)
    with Engine(BUNDLE, backend=backend, stream=stream) as own:
        own.generate(PROMPTS[0], **QUICK)  # what is loaded at first use is there
        slept = cuda.Event()
        with cuda.stream(stream):
            cuda._sleep(2_000_000_000)
            slept.record()
        assert not slept.query(), "the stream had nothing to do"
        made = own.generate(PROMPTS[0], **QUICK)
        assert slept.query(), "the picture was there before its stream came to it"
        _alike("stream", made, expected)


def check_other_card(engine: Engine, backend: str) -> None:
    """A second card paints the same, and its arrays lie there."""
    expected = engine.generate(PROMPTS[0], **QUICK)
    with Engine(BUNDLE, backend=backend, device=1) as other:
        made = other.generate(PROMPTS[0], keep_on_device=True, **QUICK)
        assert from_dlpack(made.image_device).device == torch.device("cuda", 1), "it lies elsewhere"
        _alike("device 1", made, expected)


def checks(engine: Engine, backend: str, device: str) -> dict[str, Callable[[], None]]:
    """All that this machine can do, by name; each raises AssertionError that says what is wrong."""
    cards = torch.cuda.device_count() if device == "cuda" else 0
    other = {"another card": lambda: check_other_card(engine, backend)} if cards > 1 else {}
    return {
        "image": lambda: check_image(engine, device),
        "start": lambda: check_start(engine, device),
        "latents": lambda: check_latents(engine, device),
        "control image": lambda: check_control_image(backend, device),
        "lifetime": lambda: check_lifetime(backend, device),
        "stream": lambda: check_stream(engine, backend, device),
        **other,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backend", default="cuda")
    parser.add_argument("--output", type=Path, help="JSON file")
    given = parser.parse_args(arguments)
    device = "cpu" if given.backend == "cpu" else "cuda"
    told = {"another card": "not run: this machine has none"}
    with Engine(BUNDLE, backend=given.backend) as engine:
        told["device"] = f"{engine.dlpack_device}"
        told |= {f"note {number}": note for number, note in enumerate(off_device(engine))}
        failed = bool(off_device(engine))
        for name, check in checks(engine, given.backend, device).items():
            try:
                check()
                told[name] = "passed"
            except Exception as error:
                told[name], failed = f"{type(error).__name__}: {error}", True
    for name, outcome in told.items():
        print(f"{name}: {outcome}")
    write_results(given.output, told)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
