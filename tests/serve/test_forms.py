"""Multipart bodies in which lists and objects come in pieces, as clients send them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fgdm.serve.errors import ApiError
from fgdm.serve.forms import read_form
from openai._qs import Querystring
from starlette.datastructures import FormData

PROMPT = ("prompt", "a dog")


def read(*items: tuple[str, str]) -> dict[str, Any]:
    request, _ = asyncio.run(read_form(FormData([PROMPT, *items])))
    return dict(request.model_extra or {})


@pytest.mark.parametrize(
    "fields",
    [
        {"objects": ["dog", "house"]},
        {"inversion": {"steps": 4, "skip": 0.5, "prompt": "12"}},
        {"factors": {"segmentation": {"candidates": 2, "objects": ["dog"]}}},
        {"edits": [{"prompt": "a dog", "scale": 5.5, "direction": "+"}]},
        {"edits": [{"prompt": "a dog", "scale": 5}, {"prompt": "null", "scale": 6}]},
    ],
)
def test_what_the_official_client_sends_is_put_together(fields: dict[str, Any]) -> None:
    items = Querystring(array_format="brackets").stringify_items(fields)
    assert read(*items) == fields


@pytest.mark.parametrize(
    "fields",
    [
        {"edits": [{"prompt": "a dog", "scale": 5}, {"prompt": "a cat"}]},  # whose scale is it?
        {"objects": ["dog", ["house"]]},
        {"requirements": {"objects": ["dog", {"class": "house"}]}},
    ],
)
def test_what_can_not_be_put_together_is_refused(fields: dict[str, Any]) -> None:
    (name,) = fields
    with pytest.raises(ApiError, match="send it as one field with JSON") as caught:
        read(*Querystring(array_format="brackets").stringify_items(fields))
    assert caught.value.param == name


def test_a_field_comes_in_one_form() -> None:
    for items in (
        [("objects", '["dog"]'), ("objects[]", "dog")],
        [("objects[]", "dog"), ("objects", '["dog"]')],
        [("objects", "[]"), ("objects", "[]")],
    ):
        with pytest.raises(ApiError, match="objects came more than once"):
            read(*items)
    with pytest.raises(ApiError, match="more than 8 pairs of brackets"):
        read(("edits" + "[a]" * 9, "1"))


def test_what_nobody_reads_is_passed_over() -> None:
    assert read(("unheard_of[][a]", "1"), ("unheard_of[][b]", "2"), ("unheard_of[][a]", "3")) == {}
