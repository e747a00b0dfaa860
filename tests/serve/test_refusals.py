"""What a clumsy or hostile client sends: it is refused by name, and holds nobody up."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fgdm.serve.errors import wrong
from PIL import Image

from tests.serve.conftest import QUICK

GENERATE, EDIT = "/v1/images/generations", "/v1/images/edits"
BODY: dict[str, Any] = {"prompt": "a dog", "seed": 1, **QUICK}


@pytest.fixture(scope="module")
def http(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=60) as client:
        yield client


def png(width: int, height: int, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def refused(answer: httpx.Response) -> tuple[str | None, str]:
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    return error["param"], error["message"]


@pytest.mark.parametrize(
    ("change", "param", "words"),
    [
        ({"size": "9" * 5000 + "x1"}, "size", "expected auto or WIDTHxHEIGHT"),
        ({"n": 10**4000}, "n", "n is 1000"),
        ({"n": True}, "n", "it is true, expected a whole number"),
        ({"seed": False}, "seed", "it is false, expected a whole number"),
        ({"partial_images": True, "stream": True}, "partial_images", "it is true"),
        ({"objects": {}}, "objects", "objects must be a list"),
        ({"joint": {"segmentation": 1}}, "joint", "joint must be a list of factors"),
        ({"candidates": 10**4000}, "candidates", "candidates is 1000"),
        ({"deadline": 10**4000}, "deadline", "number"),
        ({"deadline": True}, "deadline", "must be a number, got True"),
        ({"deadline": "soon"}, "deadline", "must be a number, got 'soon'"),
        ({"deadline": -1}, "deadline", "deadline is -1, expected 0 to"),
        ({"image": "AAAA"}, "image", "/v1/images/edits"),
        ({"mask": "AAAA"}, "mask", "/v1/images/edits"),
        ({"objects": ["dog"] * 5000}, "objects", "more than 4096 entries"),
        ({"requirements": {"objects": ["dog"] * 5000}}, "requirements", "more than 4096 entries"),
        ({"factors": {"\ud800": {"map": "!"}}}, "factors", "segmentation, depth"),
        ({"control_images": {"\ud800": "!"}}, "control_images.\\ud800", "base64"),
        ({"control_images": dict.fromkeys("abcdefghijklmnopq", "!")}, "control_images", "16"),
        ({"control_images": {"a": in_base64(png(129, 128))}}, "control_images.a", "at most 16384"),
        (
            {"factors": {"depth": {"map": in_base64(png(65, 64))}}},
            "factors.depth.map",
            "65x64 pixels; expected at most 4096",
        ),
    ],
)
def test_fields(http: httpx.Client, change: dict[str, Any], param: str, words: str) -> None:
    for path in (GENERATE, "/v1/jobs"):
        found, message = refused(
            http.post(
                path,
                content=json.dumps({**BODY, **change}),
                headers={"content-type": "application/json"},
            )
        )
        assert found == param and words in message and len(message) <= 1001


def test_numbers_that_json_has_not(http: httpx.Client) -> None:
    for field in ("guidance_scale", "deadline", "min_area", "priority", "seed", "n", "objects"):
        for value in ("NaN", "Infinity", "-Infinity", "1e999"):
            body = json.dumps({k: v for k, v in BODY.items() if k != field})
            text = f'{body[:-1]}, "{field}": {value}}}'
            headers = {"content-type": "application/json"}
            refused(http.post(GENERATE, content=text.encode(), headers=headers))


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b"[" * 100_000, "application/json", "body"),
        (b'{"prompt": "\xff"}', "application/json", "body"),
        (b"[1]", "application/json", "must be a JSON object"),
        (b'{"prompt": "a dog"}', "text/plain", "content-type: application/json"),
        (b"", "application/json", "must be a JSON object"),
    ],
)
def test_bodies(http: httpx.Client, content: bytes, kind: str, words: str) -> None:
    for path in (GENERATE, "/v1/jobs", "/v1/studio/jobs"):
        answer = http.post(path, content=content, headers={"content-type": kind})
        assert words in refused(answer)[1]


def test_edits(http: httpx.Client) -> None:
    fields = {name: str(value) for name, value in BODY.items()}
    picture, mask = ("image", png(64, 64)), ("mask", png(64, 64))

    def ask(files: list[tuple[str, bytes]], **more: Any) -> tuple[str | None, str]:
        return refused(http.post(EDIT, data={**fields, **more}, files=files))

    assert ask([("image", png(20_000, 1, "1"))]) == (
        "image",
        "image has 20000x1 pixels; expected sides of 1 to 16384",
    )
    assert ask([picture, picture])[0] == "image"
    assert ask([("image[]", png(8, 8)), ("image[]", png(8, 8))])[0] == "image"
    assert ask([picture, ("mask[]", png(8, 8)), ("mask[]", png(8, 8))])[0] == "mask"
    assert ask([picture, mask], mask="AAAA")[0] == "mask"
    assert ask([picture], mask="AAAA") == (
        "mask",
        "mask isn't read here; send it as a file to /v1/images/edits, in a form",
    )
    assert ask([picture], prompt=["a dog", "a cat"]) == (
        "prompt",
        "prompt came more than once; expected one, or a list prompt[]",
    )
    assert ask([("image", b"\x89PNG")]) == ("image", "image is none of PNG, JPEG, WEBP")
    assert "factors" in ask([picture], factors="[" * 100_000)[1]
    assert "multipart/form-data; got application/json" in refused(http.post(EDIT, json=BODY))[1]


def test_pictures_that_are_too_large_are_not_decoded(http: httpx.Client) -> None:
    """A small file can be a picture of many pixels."""
    bomb = in_base64(png(8000, 8000, "1"))
    factors = {name: {"map": bomb} for name in ("segmentation", "depth", "normal")}
    param, words = refused(http.post(GENERATE, json={**BODY, "factors": factors}))
    assert param == "factors.segmentation.map" and "8000x8000 pixels; expected at most" in words


def test_messages_are_cut_and_valid() -> None:
    made = wrong("a\ud800", "b\udfff" * 1000)
    assert made.param == "a\\ud800" and made.message.startswith("b\\udfff")
    assert len(made.message.replace("\\udfff", "?")) == 1001
    made.response()
