"""Protects what a service tells of its pictures' making: each is marked and signed, and none that
isn't leaves."""

from __future__ import annotations

import base64
import io
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("c2pa", reason="fgdm[c2pa] is not installed")
if find_spec("blind_watermark") is None:  # importing it chooses how processes start
    pytest.skip("fgdm[watermark] is not installed", allow_module_level=True)

import c2pa
from fgdm import watermark
from fgdm.credentials import Credentials
from fgdm.engine import Engine
from fgdm.serve.models import Models
from fgdm.serve.settings import Settings
from PIL import Image

from tests.certificates import write_chain
from tests.serve.conftest import QUICK, SCENES, serving

BODY = {"prompt": "two dogs", "seed": 1, **QUICK, "stream": True, "partial_images": 3}


def test_every_picture_is_marked_and_signed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(watermark, "LEAST_PIXELS", 128 * 128)
    with Engine(SCENES, threads=1, watermark="our service") as engine:
        models = Models({"scenes": engine}, credentials=Credentials(*write_chain(tmp_path)))
        with serving(models, Settings()) as address:
            answer = httpx.post(f"{address}/v1/images/generations", json=BODY, timeout=300)
            small = {"prompt": "two dogs", "size": "64x64"}
            refused = httpx.post(f"{address}/v1/images/generations", json=small, timeout=300)
    lines = [line for line in answer.text.splitlines() if line.startswith("data: ")]
    events: list[dict[str, Any]] = [json.loads(line.removeprefix("data: ")) for line in lines]
    *partial, completed = events
    assert [event["fgdm"]["factor"] for event in partial] == ["segmentation"], "the map alone"
    assert completed["type"] == "image_generation.completed"
    assert completed["fgdm"]["watermark"] == "our service"
    content = base64.b64decode(completed["b64_json"])
    with Image.open(io.BytesIO(content)) as picture:
        assert watermark.read_watermark(picture) == "our service"
    with c2pa.Reader("image/png", io.BytesIO(content)) as reader:
        assert reader.get_validation_state() == "Valid"
    assert refused.status_code == 400
    assert "16384 pixels" in refused.json()["error"]["message"]
