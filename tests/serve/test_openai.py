"""OpenAI's official client against a service of the shipped bundle."""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from fgdm.engine import Engine
from PIL import Image

from tests.serve.conftest import QUICK

PROMPT = "two dogs beside a house"


def picture(content: str | None) -> Image.Image:
    assert content is not None
    with Image.open(io.BytesIO(base64.b64decode(content))) as opened:
        copied: Image.Image = opened.copy()
    return copied


def png(made: Image.Image) -> bytes:
    buffer = io.BytesIO()
    made.save(buffer, "PNG")
    return buffer.getvalue()


def test_a_picture_is_the_engines(client: openai.OpenAI, engine: Engine) -> None:
    response = client.images.generate(prompt=PROMPT, extra_body={"seed": 7, **QUICK})
    expected = engine.generate(PROMPT, seed=7, **QUICK)
    assert response.data is not None
    (image,) = response.data
    got = picture(image.b64_json)
    assert response.size == "128x128" and response.output_format == "png"
    np.testing.assert_array_equal(np.asarray(got), np.asarray(expected.image))
    facts: Any = image.model_extra and image.model_extra["fgdm"]
    assert facts["seed"] == 7 and facts["recall"] == expected.recall
    assert facts["requested"] == ["dog", "house"]
    assert [c["recall"] for c in facts["candidates"]] == [c.recall for c in expected.candidates]
    assert image.revised_prompt is not None and image.revised_prompt.startswith(PROMPT)
    assert response.usage is not None
    assert response.usage.output_tokens == expected.map_rows + 2 * 4


def test_n_pictures_have_seeds_of_their_own(client: openai.OpenAI) -> None:
    response = client.images.generate(
        prompt=PROMPT, n=2, output_format="webp", extra_body={"seed": 3, **QUICK}
    )
    assert response.data is not None
    first, second = (np.asarray(picture(i.b64_json).convert("RGB")) for i in response.data)
    assert not np.array_equal(first, second)
    seeds = [image.model_extra and image.model_extra["fgdm"]["seed"] for image in response.data]
    assert seeds == [3, 4]


def test_what_real_clients_send_besides(client: openai.OpenAI) -> None:
    """Any model's name, OpenAI's sizes and fields that mean nothing here."""
    response = client.images.generate(
        model="dall-e-3",
        prompt=PROMPT,
        size="1792x1024",
        quality="hd",
        style="vivid",
        user="somebody",
        background="auto",
        moderation="low",
        response_format="url",
        output_format="jpeg",
        output_compression=50,
        extra_body={"seed": 1, "unheard_of": [1], **QUICK},
    )
    assert response.data is not None
    (image,) = response.data
    assert image.url is not None and image.b64_json is None
    answer = httpx.get(image.url)
    assert answer.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(answer.content)) as got:
        width, height = got.size
        assert response.size == f"{width}x{height}"
    assert width * height <= 128 * 128 and 1.5 <= width / height <= 2
    assert httpx.get(image.url.replace("/images/", "/images/0")).status_code == 404


def test_a_stream_shows_how_the_picture_forms(client: openai.OpenAI, engine: Engine) -> None:
    stream = client.images.generate(
        prompt=PROMPT, stream=True, partial_images=3, extra_body={"seed": 7, **QUICK}
    )
    events: list[Any] = list(stream)
    assert [event.type for event in events] == [
        *["image_generation.partial_image"] * 3,
        "image_generation.completed",
    ]
    assert [event.partial_image_index for event in events[:-1]] == [0, 1, 2]
    pictures = [np.asarray(picture(event.b64_json)).astype(float) for event in events]
    assert {made.shape for made in pictures} == {(128, 128, 3)}
    chosen_map, early, late, last = pictures
    result = engine.generate(PROMPT, seed=7, **QUICK)
    np.testing.assert_array_equal(last, np.asarray(result.image))
    np.testing.assert_array_equal(chosen_map[::2, ::2], np.asarray(result.map))
    assert events[0].fgdm["chosen"] and events[0].fgdm["recall"] == result.recall
    assert events[1].fgdm["factor"] == "image"
    assert np.abs(late - last).mean() < np.abs(early - last).mean()
    assert events[-1].usage.total_tokens > 0


def test_an_edit_keeps_what_the_mask_does_not_touch(client: openai.OpenAI) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (128, 128, 3), np.uint8)
    mask = np.zeros((128, 128, 4), np.uint8)
    mask[:, 64:, 3] = 255  # opaque: stays
    extra: dict[str, Any] = {"seed": 5, "objects": ["dog", "house"], **QUICK}
    response = client.images.edit(
        image=("photo.png", png(Image.fromarray(pixels))),
        mask=("mask.png", png(Image.fromarray(mask))),
        prompt=PROMPT,
        extra_body=extra,
    )
    assert response.data is not None
    facts: Any = (response.data[0].model_extra or {})["fgdm"]
    assert facts["requested"] == ["dog", "house"], "a list in a form"
    got = np.asarray(picture(response.data[0].b64_json))
    np.testing.assert_array_equal(got[:, 64:], pixels[:, 64:])
    assert not np.array_equal(got[:, :64], pixels[:, :64])
    stream = client.images.edit(
        image=[("photo.png", png(Image.fromarray(pixels)))],  # the field image[]
        prompt=PROMPT,
        stream=True,
        partial_images=1,
        extra_body={**extra, "strength": 0.5, "num_inference_steps": 8},
    )
    types = [event.type for event in stream]
    assert types == ["image_edit.partial_image", "image_edit.completed"]


def test_requests_at_once_in_asyncio(address: str) -> None:
    async def ask() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="any") as client:
            return await asyncio.gather(
                *(
                    client.images.generate(prompt=PROMPT, extra_body={"seed": seed, **QUICK})
                    for seed in range(4)
                )
            )

    answers = asyncio.run(ask())
    pictures = {answer.data[0].b64_json for answer in answers}
    assert len(pictures) == 4


def test_models_are_listed(client: openai.OpenAI) -> None:
    (model,) = client.models.list().data
    assert model.id == "scenes" and client.models.retrieve("scenes").owned_by == "fgdm"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-image-1")


@pytest.mark.parametrize(
    ("change", "param", "words"),
    [
        ({"prompt": " "}, "prompt", "empty"),
        ({"n": 0}, "n", "greater than or equal to 1"),
        ({"n": 9}, "n", "1 to 4"),
        ({"size": "huge"}, "size", "auto or WIDTHxHEIGHT"),
        ({"size": "0x5"}, "size", "1 to 16384"),
        ({"candidates": 0}, "candidates", "candidates is 0, expected 1 to 1000"),
        ({"candidates": 999}, "candidates", "at most 32"),
        ({"num_inference_steps": 31}, "num_inference_steps", "at most 30"),
        ({"factors": {"segmentation": {"condition_steps": 31}}}, "condition_steps", "at most 30"),
        ({"guidance": "strong"}, "guidance", "guidance is"),
        ({"guidance_scale": "much"}, "guidance_scale", "number"),
        ({"objects": ["unicorn"]}, None, "unicorn"),
        ({"output_format": "gif"}, "output_format", "png"),
        ({"partial_images": 4}, "partial_images", "less than or equal to 3"),
        ({"seed": -1}, "seed", "2^64"),
        ({"factors": {"segmentation": {"map": "!"}}}, "factors.segmentation.map", "base64"),
        ({"factors": [1]}, "factors", "object"),
    ],
)
def test_what_is_wrong_is_named(
    client: openai.OpenAI, change: dict[str, Any], param: str | None, words: str
) -> None:
    body: dict[str, Any] = {"prompt": PROMPT, **QUICK, **change}
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(prompt=body.pop("prompt"), extra_body=body)
    assert words in str(caught.value)
    assert param is None or caught.value.param == param
    assert caught.value.type == "invalid_request_error"
