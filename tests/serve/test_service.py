"""What a service does around pictures: keys, limits, jobs, clients that leave, ends."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import httpx
import openai
import pytest
from fgdm import errors
from fgdm.engine import Engine
from fgdm.serve import streams
from fgdm.serve.errors import of_engine
from fgdm.serve.memory import check_memory
from fgdm.serve.models import Models
from fgdm.serve.requests import ImageRequest, read_task
from fgdm.serve.runs import Channel, Step
from fgdm.serve.settings import Settings
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from tests.serve.conftest import QUICK, SCENES, serving, until, until_idle

PROMPT = "two dogs beside a house"
BODY = {"prompt": PROMPT, "seed": 1, **QUICK}
#: Long enough to be cut off.
LONG = {**BODY, "num_inference_steps": 30, "candidates": 8, "condition_steps": 30}


def error_of(answer: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.fixture
def http(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=60) as client:
        yield client


@pytest.fixture(autouse=True)
def _idle_before(engine: Engine) -> None:
    until_idle(engine)


def ask_and_leave(http: httpx.Client, engine: Engine, body: dict[str, Any]) -> None:
    """Asks for a picture, and leaves as soon as the engine has the request, not before."""
    accepted, content = engine.metrics()["accepted"], json.dumps(body).encode()
    with socket.create_connection((http.base_url.host, http.base_url.port or 80)) as connection:
        connection.sendall(
            b"POST /v1/images/generations HTTP/1.1\r\nhost: service\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(content)
        )
        connection.sendall(content)
        until(lambda: bool(engine.metrics()["accepted"] > accepted))


def test_every_answer_has_an_id(http: httpx.Client) -> None:
    assert (
        http.get("/health", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    )
    made = http.get("/health", headers={"x-request-id": "bad id"}).headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{32}", made)
    assert http.get("/nowhere").headers["x-request-id"]


def test_errors_of_routing_and_bodies(http: httpx.Client) -> None:
    assert error_of(http.get("/nowhere"))["code"] == "not_found"
    assert error_of(http.get("/v1/images/generations"))["code"] in (
        "not_found",
        "method_not_allowed",
    )
    bad = http.post(
        "/v1/images/generations", content=b"{", headers={"content-type": "application/json"}
    )
    assert bad.status_code == 400 and error_of(bad)["code"] == "invalid_json"
    missing = http.post("/v1/images/generations", json={"n": 1})
    assert missing.status_code == 400 and error_of(missing)["param"] == "prompt"
    text = http.post("/v1/images/generations", json={"prompt": 5})
    assert text.status_code == 400 and error_of(text)["param"] == "prompt"
    no_file = http.post("/v1/images/edits", data={"prompt": PROMPT})
    assert no_file.status_code == 400 and error_of(no_file)["param"] == "image"
    no_picture = http.post("/v1/images/edits", data={"prompt": PROMPT}, files={"image": b"GIF89a"})
    assert no_picture.status_code == 400 and error_of(no_picture)["param"] == "image"


def test_a_picture_of_what_must_not_be_painted(http: httpx.Client, engine: Engine) -> None:
    answer = http.post("/v1/images/generations", json={**BODY, "forbid": list(engine.classes)})
    assert answer.status_code == 400
    assert "holds what must not be painted: " in error_of(answer)["message"]
    answer = http.post("/v1/images/generations", json={**BODY, "forbid": ["unicorn"]})
    assert answer.status_code == 400 and "unicorn" in error_of(answer)["message"]


def test_a_large_body_is_refused_before_it_is_read(http: httpx.Client) -> None:
    large = {"prompt": "a" * (2**20)}
    told = http.post("/v1/images/generations", json=large)
    assert told.status_code == 413 and error_of(told)["code"] == "body_too_large"
    content = json.dumps(large).encode()
    pieces = (content[i : i + 65536] for i in range(0, len(content), 65536))
    untold = http.post(
        "/v1/images/generations", content=pieces, headers={"content-type": "application/json"}
    )
    assert untold.status_code == 413 and error_of(untold)["code"] == "body_too_large"


def test_keys(models: Models) -> None:
    with serving(models, Settings(api_keys=("first", "second"))) as address:
        with httpx.Client(base_url=address) as http:
            assert http.get("/ready").status_code == 200
            for headers in (
                {},
                {"authorization": "Bearer third"},
                {"authorization": "Basic first"},
            ):
                refused = http.get("/v1/models", headers=headers)
                assert refused.status_code == 401 and error_of(refused)["code"] == "invalid_api_key"
        with openai.OpenAI(base_url=f"{address}/v1", api_key="second", max_retries=0) as client:
            assert client.models.list().data[0].id == "scenes"
        with (
            openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
            pytest.raises(openai.AuthenticationError),
        ):
            client.models.list()


def test_a_client_that_leaves_stops_costing(http: httpx.Client, engine: Engine) -> None:
    before = engine.metrics()["cancelled"]
    ask_and_leave(http, engine, LONG)
    until(lambda: bool(engine.metrics()["cancelled"] == before + 1))
    with http.stream("POST", "/v1/images/generations", json={**LONG, "stream": True}) as stream:
        assert stream.status_code == 200
    until(lambda: bool(engine.metrics()["cancelled"] == before + 2))
    until(lambda: 'outcome="cancelled"' in http.get("/metrics").text)


def test_a_job_is_submitted_watched_and_fetched(http: httpx.Client, engine: Engine) -> None:
    submitted = http.post("/v1/jobs", json={**BODY, "n": 2, "output_format": "jpeg"})
    assert submitted.status_code == 202
    name = submitted.json()["id"]
    with http.stream("GET", f"/v1/jobs/{name}/events") as stream:
        events = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
    assert events[-1]["type"] == "job.done" and len(events[-1]["results"]) == 2
    assert {event["type"] for event in events} <= {"job.queued", "job.running", "job.done"}
    shown = http.get(f"/v1/jobs/{name}").json()
    expected = engine.generate(PROMPT, seed=1, **QUICK)
    assert shown["status"] == "done" and shown["results"][0]["recall"] == expected.recall
    image = http.get(f"/v1/jobs/{name}/images/1")
    assert image.headers["content-type"] == "image/jpeg" and image.content[:2] == b"\xff\xd8"
    candidate = http.get(f"/v1/jobs/{name}/images/0/candidates/1")
    assert candidate.headers["content-type"] == "image/png"
    assert http.get(f"/v1/jobs/{name}/images/2").status_code == 404
    assert http.get(f"/v1/jobs/{name}/images/0/candidates/2").status_code == 404
    maps = f"/v1/jobs/{name}/images/0/factors"
    assert http.get(f"{maps}/segmentation/candidates/1").content == candidate.content
    assert http.get(f"{maps}/depth/candidates/0").status_code == 404
    assert http.delete(f"/v1/jobs/{name}").json()["status"] == "done"


def test_a_job_shows_its_maps_while_they_are_sampled(http: httpx.Client) -> None:
    name = http.post("/v1/jobs", json={**LONG, "prune": [1]}).json()["id"]
    early: dict[str, Any] | None = None
    with http.stream("GET", f"/v1/jobs/{name}/events") as stream:
        for line in stream.iter_lines():
            if line.startswith("data: ") and (maps := json.loads(line[6:]).get("maps")):
                (first, *_) = maps
                early = early or first
                path = f"/v1/jobs/{name}/images/0/factors/segmentation/candidates"
                assert http.get(f"{path}/{first['candidate']}").headers["content-type"] == (
                    "image/png"
                )
                assert http.get(f"{path}/99").status_code == 404
                break
    assert early is not None
    assert early["factor"] == "segmentation" and 0 <= early["recall"] <= 1
    assert early["steps"] == 1 and early["num_steps"] == 30 and not early["chosen"]
    http.delete(f"/v1/jobs/{name}")


def test_a_job_is_cancelled(http: httpx.Client, engine: Engine) -> None:
    name = http.post("/v1/jobs", json=LONG).json()["id"]
    early = http.get(f"/v1/jobs/{name}/images/0")
    assert early.status_code == 409 and error_of(early)["code"] == "not_done"
    before = engine.metrics()["cancelled"]
    http.delete(f"/v1/jobs/{name}")
    with http.stream("GET", f"/v1/jobs/{name}/events") as stream:
        events = [json.loads(line[6:]) for line in stream.iter_lines() if line[:5] == "data:"]
    assert events[-1]["type"] == "job.cancelled"
    assert engine.metrics()["cancelled"] == before + 1
    assert http.get("/v1/jobs/none").status_code == 404


def test_a_job_that_fails_says_why(http: httpx.Client) -> None:
    name = http.post("/v1/jobs", json={**LONG, "deadline": 0.01}).json()["id"]
    with http.stream("GET", f"/v1/jobs/{name}/events") as stream:
        events = [json.loads(line[6:]) for line in stream.iter_lines() if line[:5] == "data:"]
    assert events[-1]["type"] == "job.failed" and events[-1]["error"]["code"] == "deadline"


def test_a_deadline_is_a_504_that_is_not_tried_again(http: httpx.Client) -> None:
    answer = http.post("/v1/images/generations", json={**LONG, "deadline": 0.01})
    assert answer.status_code == 504 and answer.headers["x-should-retry"] == "false"
    assert error_of(answer)["code"] == "deadline"


def test_a_streams_error_is_its_last_event(http: httpx.Client) -> None:
    body = {**LONG, "deadline": 0.2, "stream": True, "partial_images": 1}
    with http.stream("POST", "/v1/images/generations", json=body) as stream:
        lines = [line for line in stream.iter_lines() if line.startswith("data: ")]
    assert json.loads(lines[-1][6:])["error"]["code"] == "deadline"


def test_metrics_are_prometheus(http: httpx.Client) -> None:
    http.post("/v1/images/generations", json=BODY)
    http.post("/v1/images/generations", json={**LONG, "deadline": 0.01})
    families = {
        family.name: family for family in text_string_to_metric_families(http.get("/metrics").text)
    }
    outcomes = {
        sample.labels["outcome"]: sample.value
        for sample in families["fgdm_requests"].samples
        if sample.name == "fgdm_requests_total"
    }
    assert outcomes["done"] >= 1 and outcomes["deadline"] >= 1
    (rows,) = (s for s in families["fgdm_engine_rows"].samples if s.name.endswith("_total"))
    assert rows.value > 0 and rows.labels == {"model": "scenes"}
    stages = {s.labels["stage"] for s in families["fgdm_engine_stage_seconds"].samples}
    assert {"backbone", "controlnet", "vae_decoder"} <= stages
    for name in ("fgdm_recall", "fgdm_queue_seconds", "fgdm_stage_seconds"):
        samples = {s.name for s in families[name].samples}
        assert samples >= {f"{name}_bucket", f"{name}_count", f"{name}_sum"}
    buckets = {
        s.labels["le"]: s.value
        for s in families["fgdm_engine_batch_rows"].samples
        if s.name.endswith("_bucket")
    }
    (count,) = (s.value for s in families["fgdm_engine_batches"].samples if s.name[-6:] == "_total")
    assert buckets["+Inf"] == count >= buckets["2"] > 0
    assert sorted(buckets.values()) == list(buckets.values())
    assert families["process_resident_memory_bytes"].samples[0].value > 2**20
    assert families["fgdm_engine_waiting_rows"].samples[0].value >= 0


def test_as_many_requests_as_may_be(models: Models, engine: Engine) -> None:
    with serving(models, Settings(max_requests=1, max_steps=30)) as address:
        before = engine.metrics()["cancelled"]
        with httpx.Client(base_url=address, timeout=60) as http:
            with http.stream(
                "POST", "/v1/images/generations", json={**LONG, "stream": True}
            ) as stream:
                assert stream.status_code == 200
                refused = http.post("/v1/images/generations", json=BODY)
            assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
            assert error_of(refused)["code"] == "too_many_requests"
            until(lambda: bool(engine.metrics()["cancelled"] > before))
            until(lambda: http.post("/v1/images/generations", json=BODY).status_code == 200)


def test_jobs_count_as_requests(models: Models, engine: Engine) -> None:
    with (
        serving(models, Settings(max_requests=1, max_steps=30)) as address,
        httpx.Client(base_url=address, timeout=60) as http,
    ):
        name = http.post("/v1/jobs", json=LONG).json()["id"]
        refused = http.post("/v1/jobs", json=BODY)
        assert refused.status_code == 429 and error_of(refused)["code"] == "too_many_requests"
        before = engine.metrics()["cancelled"]
        http.delete(f"/v1/jobs/{name}")
        until(lambda: http.get(f"/v1/jobs/{name}").json()["status"] == "cancelled")
        assert engine.metrics()["cancelled"] == before + 1
        assert http.post("/v1/jobs", json=BODY).status_code == 202


def test_a_request_may_go_on_without_its_client(models: Models, engine: Engine) -> None:
    body = {**BODY, "num_inference_steps": 10}
    with (
        serving(models, Settings(keep_running=True, max_steps=30)) as address,
        httpx.Client(base_url=address, timeout=60) as http,
    ):
        before = engine.metrics()
        with http.stream("POST", "/v1/images/generations", json={**body, "stream": True}):
            pass
        ask_and_leave(http, engine, body)
        until(lambda: bool(engine.metrics()["finished"] == before["finished"] + 2))
        assert engine.metrics()["cancelled"] == before["cancelled"]


def test_a_service_that_ends_lets_jobs_end(models: Models, engine: Engine) -> None:
    before = engine.metrics()
    with serving(models, Settings(max_steps=30, grace_seconds=60)) as address:
        assert httpx.post(f"{address}/v1/jobs", json=BODY, timeout=60).status_code == 202
    assert engine.metrics()["finished"] == before["finished"] + 1
    with serving(models, Settings(max_steps=30, grace_seconds=0.1)) as address:
        assert httpx.post(f"{address}/v1/jobs", json=LONG, timeout=60).status_code == 202
    assert engine.metrics()["cancelled"] == before["cancelled"] + 1


def test_no_preview_is_lost_to_other_steps() -> None:
    async def read() -> list[int]:
        channel = Channel()
        preview = Image.new("RGB", (8, 8))
        channel.send(Step(0, "image", 1, 20, preview))
        for step in range(2, 12):
            channel.send(Step(0, "image", step, 20))
        channel.close()
        return [event.step async for event in channel if isinstance(event, Step)]

    assert asyncio.run(read()) == [1]


def test_several_models_answer_to_their_names(engine: Engine) -> None:
    with (
        serving(Models({"one": engine, "two": engine}), Settings()) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as client,
    ):
        assert [model.id for model in client.models.list().data] == ["one", "two"]
        response = client.images.generate(prompt=PROMPT, model="two", extra_body=BODY)
        assert response.data is not None
        facts: Any = (response.data[0].model_extra or {})["fgdm"]
        assert facts["model"] == "two"
        with pytest.raises(openai.NotFoundError) as caught:
            client.images.generate(prompt=PROMPT, model="dall-e-3")
        assert caught.value.code == "model_not_found" and "one, two" in str(caught.value)


def test_aliases_are_names_too(engine: Engine) -> None:
    models = Models({"one": engine, "two": engine}, {"dall-e-3": "two"})
    assert models.find("dall-e-3").name == "two" and models.find(None).name == "one"
    with (
        serving(models, Settings()) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as client,
    ):
        assert [model.id for model in client.models.list().data] == ["one", "two", "dall-e-3"]
        assert client.models.retrieve("dall-e-3").id == "dall-e-3"


def test_weights_have_to_find_room() -> None:
    size = sum(path.stat().st_size for path in SCENES.rglob("*") if path.is_file())
    check_memory([SCENES], size)
    with pytest.raises(errors.OutOfMemoryError, match="serve fewer bundles"):
        check_memory([SCENES, SCENES], 2 * size - 1)
    check_memory([SCENES])


@pytest.mark.parametrize(
    ("asked", "most", "expected"),
    [
        (None, None, (128, 128)),
        ("auto", 10**6, (128, 128)),
        ("1024x1024", None, (128, 128)),
        ("1024x1024", 256 * 256, (256, 256)),
        ("130x126", 10**6, (128, 128)),
        ("1x1", None, (32, 32)),
        ("16384x1", None, (32, 512)),
    ],
)
def test_sizes(
    models: Models, asked: str | None, most: int | None, expected: tuple[int, int]
) -> None:
    task = read_task(
        ImageRequest(prompt=PROMPT, size=asked), models.find(None), Settings(max_pixels=most)
    )
    height, width = task.options["height"], task.options["width"]
    assert (height, width) == expected


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [
        (errors.RequestError("x"), 400, None),
        (errors.QueueFullError("x"), 429, "true"),
        (errors.DeadlineError("x"), 504, "false"),
        (errors.OutOfMemoryError("x"), 503, "false"),
        (errors.BackendError("x"), 500, "false"),
        (errors.BundleError("x"), 500, "false"),
    ],
)
def test_an_engines_errors(error: errors.Error, status: int, retry: str | None) -> None:
    made = of_engine(error)
    assert made.status_code == status
    assert (made.headers or {}).get("x-should-retry") == retry


def test_silence_is_filled_with_comments() -> None:

    async def slow() -> AsyncGenerator[str, None]:
        await asyncio.sleep(0.25)
        yield "data: 1\n\n"

    async def read() -> list[str]:
        return [part async for part in streams.with_comments(slow(), 0.1)]

    parts = asyncio.run(read())
    assert parts[-1] == "data: 1\n\n" and parts[:-1] == [": still at work\n\n"] * 2
