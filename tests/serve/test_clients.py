"""Requests as other projects' clients send them, written from their sources:

open-webui, backend/open_webui/routers/images.py (image_generations, image_edits);
LibreChat, api/app/clients/tools/structured (DALLE3.js, OpenAIImageTools.js);
@ai-sdk/openai-compatible, src/image/openai-compatible-image-model.ts.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from fgdm.serve.models import Models
from fgdm.serve.settings import Settings
from PIL import Image

from tests.serve.conftest import QUICK, serving

PROMPT = "two dogs beside a house"
KEY = {"authorization": "Bearer key"}


@pytest.fixture(scope="module")
def http(models: Models) -> Iterator[httpx.Client]:
    """Of a service that wants a key, whose pictures are made in a moment."""
    with (
        serving(models, Settings(api_keys=("key",))) as address,
        httpx.Client(base_url=f"{address}/v1", timeout=60) as client,
    ):
        yield client


def png() -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (128, 128, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def opened(content: bytes) -> Image.Image:
    picture: Image.Image = Image.open(io.BytesIO(content))
    return picture


def test_open_webui_generates(http: httpx.Client) -> None:
    """Its parameters are an object of the administrator's; the engine's options go there."""
    body = {
        "model": "dall-e-2",
        "prompt": PROMPT,
        "n": 1,
        "size": "512x512",
        "response_format": "b64_json",
        **QUICK,
    }
    answer = http.post("/images/generations?api-version=2025-04-01", json=body, headers=KEY)
    (image,) = answer.raise_for_status().json()["data"]
    assert image.get("url") is None
    assert opened(base64.b64decode(image["b64_json"])).size == (128, 128)


def test_open_webui_edits(http: httpx.Client) -> None:
    """Every field is text; it sends an image alone as image, several as image[]."""
    data = {"model": "gpt-image-1", "prompt": PROMPT, "n": "1", "size": "1024x1024"}
    options = {name: str(value) for name, value in QUICK.items()}
    for field in ("image", "image[]"):
        answer = http.post(
            "/images/edits",
            data=data | options,
            files=[(field, ("image.png", png(), "image/png"))],
            headers=KEY,
        )
        (image,) = answer.raise_for_status().json()["data"]
        assert opened(base64.b64decode(image["b64_json"])).size == (128, 128)


def test_librechats_older_tool_reads_addresses(http: httpx.Client) -> None:
    """It gives no response_format, finds a name that ends with .png in each address, and fetches it
    without a key."""
    body = {
        "model": "dall-e-3",
        "prompt": PROMPT,
        "n": 1,
        "size": "1792x1024",
        "quality": "hd",
        "style": "vivid",
    }
    answer = http.post("/images/generations", json={**body, **QUICK}, headers=KEY)
    (image,) = answer.raise_for_status().json()["data"]
    assert re.search(r"[\w\d]+\.png", image["url"]) and image.get("b64_json") is None
    fetched = httpx.get(image["url"])
    assert fetched.headers["content-type"] == "image/png"
    assert opened(fetched.content).width > opened(fetched.content).height
    assert http.get("/images/none.png").status_code == 404
    assert http.post("/images/generations", json=body).status_code == 401


def test_librechats_newer_tool(http: httpx.Client) -> None:
    body: dict[str, Any] = {
        "model": "gpt-image-1",
        "prompt": PROMPT,
        "n": 1,
        "background": "auto",
        "output_format": "webp",
        "output_compression": 80,
        "quality": "auto",
        "size": "auto",
    }
    answer = http.post("/images/generations", json={**body, **QUICK}, headers=KEY)
    (image,) = answer.raise_for_status().json()["data"]
    assert opened(base64.b64decode(image["b64_json"])).format == "WEBP"
    answer = http.post(
        "/images/edits",
        data={"model": "gpt-image-1", "prompt": PROMPT, "quality": "auto", "size": "auto"}
        | {name: str(value) for name, value in QUICK.items()},
        files=[("image[]", ("picture.png", png(), "image/png"))],
        headers=KEY,
    )
    assert answer.raise_for_status().json()["data"][0]["b64_json"]


def test_ai_sdk(http: httpx.Client) -> None:
    """It leaves out what isn't set, and reads b64_json alone."""
    body = {"model": "scenes", "prompt": PROMPT, "n": 2, **QUICK, "response_format": "b64_json"}
    answer = http.post("/images/generations", json=body, headers=KEY)
    images = answer.raise_for_status().json()["data"]
    assert len(images) == 2 and all(isinstance(image["b64_json"], str) for image in images)
    answer = http.post(
        "/images/edits",
        data={"model": "scenes", "prompt": PROMPT, "n": "1", "size": "128x128"}
        | {name: str(value) for name, value in QUICK.items()},
        files=[
            ("image", ("blob", png(), "image/png")),
            ("mask", ("blob", png(), "image/png")),
        ],
        headers=KEY,
    )
    assert answer.raise_for_status().json()["data"][0]["b64_json"]
    refused = http.post("/images/generations", json={**body, "n": 99}, headers=KEY)
    assert refused.status_code == 400 and isinstance(refused.json()["error"]["message"], str)
