"""Protects prompts that a service has a language model read: only where its operator named one."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

pytest.importorskip("openai", reason="fgdm[llm] is not installed")

from fgdm.cli import command
from fgdm.engine import Engine
from fgdm.llm import LanguageModel
from fgdm.serve.models import Models
from fgdm.serve.settings import Settings

from tests.engine.test_llm import ANSWER, StandIn, completion
from tests.serve.conftest import QUICK, SCENES, serving

BODY = {"prompt": "puppies at the shore", "seed": 1, **QUICK, "requirements_from": "llm"}


def test_the_operators_model_reads(engine: Engine, address: str) -> None:
    endpoint = StandIn(completion(json.dumps(ANSWER)), completion("no JSON"))
    try:
        models = Models({"scenes": engine}, reader=LanguageModel(endpoint.url, "small"))
        with serving(models, Settings()) as own, httpx.Client(base_url=own, timeout=300) as http:
            told: list[dict[str, Any]] = [
                http.post("/v1/images/generations", json=BODY).json()["data"][0]["fgdm"]
                for _ in range(2)
            ]
            both = http.post("/v1/images/generations", json={**BODY, "objects": ["dog"]})
    finally:
        endpoint.close()
    assert told[0]["reading"]["source"] == "llm"
    assert {"kind": "count", "text": "2 dog"}.items() <= told[0]["requirements"][2].items()
    assert told[1]["reading"]["source"] == "prompt" and told[1]["reading"]["problem"]
    assert both.status_code == 400
    refused = httpx.post(f"{address}/v1/images/generations", json=BODY)
    assert refused.status_code == 400
    for answer in (both, refused):
        error = answer.json()["error"]
        assert (error["param"], error["code"]) == ("requirements_from", "invalid_value")
    assert "no language model" in refused.json()["error"]["message"]


def test_half_a_model_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["serve", str(SCENES), "--port", "0", "--llm-model", "small"]) == 2
    assert "both its URL (llm-base-url) and llm-model" in capsys.readouterr().err
