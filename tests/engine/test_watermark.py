"""Protects the invisible watermark: it is read back, it is told from none, and it is in everything
that an engine with one gives away."""

from __future__ import annotations

import asyncio
import io
import json
import multiprocessing
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if find_spec("blind_watermark") is None:  # importing it chooses how processes start
    pytest.skip("fgdm[watermark] is not installed", allow_module_level=True)

from fgdm import Engine, RequestError, watermark
from fgdm.cli import command
from fgdm.result import Result
from fgdm.watermark import Watermark, read_watermark
from PIL import Image

BUNDLE = Path(__file__).parents[2] / "bundles" / "scenes"
QUICK: dict[str, Any] = {"candidates": 1, "condition_steps": 1, "num_inference_steps": 1}


def scenery(height: int = 256, width: int = 256) -> Image.Image:
    """Soft shapes, as pictures have them, and a little noise."""
    random = np.random.default_rng(7)
    coarse = random.integers(40, 215, (8, 8, 3), np.uint8)
    soft = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noisy = np.asarray(soft, np.int16) + random.integers(-3, 4, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def test_a_text_comes_back_from_a_jpeg_and_is_hardly_seen() -> None:
    picture = scenery(301, 257)
    marked = Watermark("größer").mark(picture)
    assert marked.size == picture.size and marked.mode == "RGB"
    difference = np.asarray(marked, np.float64) - np.asarray(picture, np.float64)
    assert 10 * np.log10(255**2 / (difference**2).mean()) > 35.0
    buffer = io.BytesIO()
    marked.save(buffer, "JPEG", quality=90)
    with Image.open(buffer) as opened:
        assert read_watermark(opened) == "größer"


def test_what_has_none_is_told_so() -> None:
    assert read_watermark(scenery()) is None
    assert read_watermark(scenery(64, 64)) is None
    assert read_watermark(Image.new("RGB", (256, 256), (128,) * 3)) is None


@pytest.mark.parametrize("text", ["", "0123456789abc", "ééééééé", "a\0b", "a\nb"])
def test_texts_that_do_not_fit(text: str) -> None:
    with pytest.raises(RequestError, match="1 to 12 bytes"):
        Watermark(text)


def test_a_picture_that_cannot_carry_it_is_refused() -> None:
    with pytest.raises(RequestError, match="65536 pixels"):
        Watermark("a").mark(scenery(128, 128))
    with pytest.raises(RequestError, match="too flat"):
        Watermark("a").mark(Image.new("RGB", (256, 256), (255, 255, 255)))


def test_other_code_keeps_its_way_to_start_processes() -> None:
    """Importing the library would choose "fork", or fail where another was chosen."""
    code = (
        "import multiprocessing; multiprocessing.set_start_method('spawn')\n"
        "from fgdm.watermark import Watermark; Watermark('a')\n"
        "print(multiprocessing.get_start_method())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("spawn\n", "")
    assert multiprocessing.set_start_method.__module__ == "multiprocessing.context"


def test_an_engines_pictures_have_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At a size that is quickly painted; in a PNG the mark holds there, too."""
    pytest.importorskip("fgdm._core", reason="the C++ core is not built")
    monkeypatch.setattr(watermark, "LEAST_PIXELS", 128 * 128)

    async def awaited(engine: Engine) -> Result:
        return await engine.submit("a boat", seed=2, **QUICK)

    with Engine(BUNDLE, threads=1, watermark="my service") as engine:
        with pytest.raises(RequestError, match="16384 pixels"):
            engine.submit("a boat", height=64, width=64, **QUICK)
        result = asyncio.run(awaited(engine))
    assert read_watermark(result.image) == result.to_json()["watermark"] == "my service"

    said = ["--candidates", "1", "--condition-steps", "1", "--num-inference-steps", "1", "--quiet"]
    said += ["--bundle", str(BUNDLE), "--output", str(tmp_path), "--watermark", "café"]
    assert command.main(["generate", "a boat", *said]) == 0
    assert json.loads((tmp_path / "result.json").read_text())["watermark"] == "café"
    image, chosen = tmp_path / "image.png", tmp_path / "map.png"
    capsys.readouterr()
    assert command.main(["watermark", "--json", str(image), str(chosen)]) == 1
    assert json.loads(capsys.readouterr().out) == {str(image): "café", str(chosen): None}
    large = tmp_path / "large.png"
    marked = Watermark("café").mark(scenery(256, 256))
    marked.resize((320, 320), Image.Resampling.LANCZOS).save(large)
    assert command.main(["watermark", str(large), "--size", "256x256"]) == 0
    assert capsys.readouterr().out == f"{large}: café\n"
