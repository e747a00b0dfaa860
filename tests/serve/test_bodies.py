"""JSON bodies that are refused before they are read, or for what they say twice; jobs' owners."""

from __future__ import annotations

import json

import httpx
import pytest
from fgdm.serve.bodies import read_json
from fgdm.serve.errors import ApiError
from fgdm.serve.models import Models
from fgdm.serve.settings import Settings

from tests.serve.conftest import QUICK, serving


def test_a_field_that_comes_twice(address: str) -> None:
    """At the top or deeper, known to the service or not: whoever sent it meant one of them."""
    for path in ("/v1/images/generations", "/v1/jobs", "/v1/studio/jobs"):
        for body, name in (
            ('{"prompt": "a dog", "seed": 1, "seed": 2}', "seed"),
            ('{"prompt": "a dog", "factors": {"depth": {}, "depth": null}}', "depth"),
        ):
            answer = httpx.post(
                address + path, content=body, headers={"content-type": "application/json"}
            )
            assert answer.status_code == 400
            error = answer.json()["error"]
            assert error["param"] == name and error["message"] == f"{name} comes twice; say it once"


def test_a_body_of_many_values(address: str) -> None:
    body = '{"prompt": "a dog", "objects": [' + "[]," * 150_000 + "[]]}"
    answer = httpx.post(
        address + "/v1/images/generations",
        content=body,
        headers={"content-type": "application/json"},
        timeout=60,
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "body_too_complex"


def test_a_deep_body(address: str) -> None:
    answer = httpx.post(
        address + "/v1/images/generations",
        content='{"prompt": "a dog", "objects": ' + "[" * 50_000 + "]" * 50_000 + "}",
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "body_too_complex" and "too deep" in error["message"]


def test_what_is_read() -> None:
    """As the standard library reads it, however large a text is."""
    value = {"a": [1, {"b": None}], "map": "A" * 300_000, "c": {}}
    assert read_json(json.dumps(value).encode()) == value
    with pytest.raises(json.JSONDecodeError):
        read_json(b"{")
    with pytest.raises(ApiError, match="x comes twice"):
        read_json(b'[{"x": 1, "y": {}, "x": {}}]')


def test_a_job_is_there_for_its_owner_alone(models: Models) -> None:
    """To another key it is as if there were none, whichever route is asked."""
    body = {"prompt": "a house", "seed": 1, **QUICK}
    with serving(models, Settings(api_keys=("one", "two"))) as at:
        one, two = (
            httpx.Client(base_url=at, headers={"authorization": f"Bearer {key}"}, timeout=60)
            for key in ("one", "two")
        )
        with one, two:
            for route in ("/v1/jobs", "/v1/studio/jobs"):
                name = one.post(route, json=body).json()["id"]
                one.get(f"{route}/{name}/events").raise_for_status()
                for path in (f"/v1/jobs/{name}", f"{route}/{name}/events"):
                    assert one.get(path).status_code == 200
                    refused = two.get(path)
                    assert refused.status_code == 404
                    assert refused.json()["error"]["message"].startswith("there is no job")
                assert one.get(f"/v1/jobs/{name}/images/0").status_code == 200
                assert two.get(f"/v1/jobs/{name}/images/0").status_code == 404
                assert two.delete(f"/v1/jobs/{name}").status_code == 404
            place = f"/v1/studio/jobs/{name}/images/0/factors/segmentation/0"
            assert one.get(place).status_code == 200 and two.get(place).status_code == 404
