"""What is counted of requests: each once, by how it ended, also where nobody waits for it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from fgdm.engine import Engine
from fgdm.serve import answers
from fgdm.serve.models import Models
from fgdm.serve.settings import Settings
from prometheus_client.parser import text_string_to_metric_families

from tests.serve.conftest import QUICK, serving, until, until_idle

GENERATE, EDIT = "/v1/images/generations", "/v1/images/edits"
BODY = {"prompt": "two dogs beside a house", "seed": 1, **QUICK}
SOME = {**BODY, "num_inference_steps": 12, "condition_steps": 4}
LONG = {**BODY, "num_inference_steps": 30, "candidates": 8, "condition_steps": 30}


@pytest.fixture(autouse=True)
def _idle_before(engine: Engine) -> None:
    until_idle(engine)


@contextmanager
def asking(models: Models, **settings: Any) -> Iterator[httpx.Client]:
    with (
        serving(models, Settings(max_steps=30, **settings)) as address,
        httpx.Client(base_url=address, timeout=60) as http,
    ):
        yield http


def counts(http: httpx.Client) -> dict[tuple[str, str, str], float]:
    """fgdm_requests_total by model, kind and outcome."""
    families = text_string_to_metric_families(http.get("/metrics").text)
    return {
        (sample.labels["model"], sample.labels["kind"], sample.labels["outcome"]): sample.value
        for family in families
        for sample in family.samples
        if sample.name == "fgdm_requests_total"
    }


def test_a_kept_stream_whose_client_left_is_at_work_until_it_ends(models: Models) -> None:
    with asking(models, keep_running=True, max_requests=1) as http:
        with http.stream("POST", GENERATE, json={**SOME, "stream": True}) as stream:
            assert stream.status_code == 200
        refused = http.post(GENERATE, json=BODY)
        assert refused.status_code == 429, "it's still one of the key's"
        done = ("scenes", "image_generation", "done")
        until(lambda: counts(http).get(done) == 1)
        until(lambda: http.post(GENERATE, json=BODY).status_code == 200)
        found = counts(http)
        assert set(found) == {done, ("", "image_generation", "too_many_requests")}
        assert found[done] == 2


def test_a_stream_whose_client_left_is_cancelled_once(models: Models) -> None:
    """Wherever it left: before the first event, or after it."""
    with asking(models) as http:
        body = {**BODY, "num_inference_steps": 30, "stream": True, "partial_images": 1}
        with http.stream("POST", GENERATE, json=body):
            pass
        with http.stream("POST", GENERATE, json=body) as stream:
            assert any(line.startswith("event: ") for line in stream.iter_lines())
        until(lambda: sum(counts(http).values()) == 2)
        assert counts(http) == {("scenes", "image_generation", "cancelled"): 2}


def test_refused_requests_are_counted_by_why(models: Models) -> None:
    with asking(models, max_requests=1, max_body_bytes=10_000) as http:
        assert http.post(GENERATE, json={**BODY, "candidates": 0}).status_code == 400
        assert http.post("/v1/jobs", json={**BODY, "size": "large"}).status_code == 400
        assert http.post("/v1/studio/jobs", json={"n": 1}).status_code == 400
        assert http.post(GENERATE, json={**BODY, "more": "a" * 10_000}).status_code == 413
        assert http.post(EDIT, files={"image": b"a" * 10_000}).status_code == 413
        name = http.post("/v1/jobs", json=LONG).json()["id"]
        assert http.post("/v1/jobs", json=BODY).status_code == 429
        assert counts(http) == {
            ("scenes", "image_generation", "invalid_value"): 2,
            ("", "image_generation", "invalid_value"): 1,
            ("", "image_generation", "body_too_large"): 1,
            ("", "image_edit", "body_too_large"): 1,
            ("scenes", "image_generation", "too_many_requests"): 1,
        }, "the job is at work"
        http.delete(f"/v1/jobs/{name}")
        until(lambda: ("scenes", "image_generation", "cancelled") in counts(http))


def test_a_full_queue_is_counted(models: Models, engine: Engine) -> None:
    from fgdm import errors  # noqa: PLC0415

    class Full:
        """An engine that takes nothing."""

        info, manifest, palette = engine.info, engine.manifest, engine.palette
        watermark, has_segmenter = None, False

        def submit(self, *_: Any, **__: Any) -> Any:
            raise errors.QueueFullError("the queue is full")

        def metrics(self) -> dict[str, Any]:
            return engine.metrics()

    with asking(Models({"full": Full()})) as http:  # type: ignore[dict-item]
        for path in (GENERATE, "/v1/jobs"):
            assert http.post(path, json=BODY).status_code == 429
        assert counts(http) == {("full", "image_generation", "queue_full"): 2}


def test_what_nobody_foresaw_has_an_answer_like_others(
    models: Models, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(answers, "images_response", broken)
    with caplog.at_level(logging.INFO, "fgdm.serve"), asking(models) as http:
        answer = http.post(GENERATE, json=BODY, headers={"x-request-id": "mine"})
        assert answer.status_code == 500 and answer.headers["x-request-id"] == "mine"
        assert answer.headers["x-should-retry"] == "false"
        assert answer.json()["error"]["code"] == "internal"
    # The service has ended: its log is complete.
    lines = [r.message for r in caplog.records if r.message.startswith("{")]
    assert json.loads(lines[0])["status"] == 500
    assert any("ZeroDivisionError" in (r.exc_text or "") for r in caplog.records)


def test_head_is_answered_like_get_without_a_body(models: Models) -> None:
    with asking(models) as http:
        name = http.post("/v1/jobs", json=LONG).json()["id"]
        url = http.post(GENERATE, json={**BODY, "response_format": "url"}).json()["data"][0]["url"]
        paths = ["/health", "/ready", "/v1/models", "/v1/models/scenes", "/openapi.json", "/docs"]
        for path in [*paths, "/", url, f"/v1/jobs/{name}", "/v1/jobs/none", "/nowhere"]:
            got, head = http.get(path), http.head(path)
            assert head.status_code == got.status_code and head.content == b"", path
            assert head.headers["content-type"] == got.headers["content-type"]
            if f"/v1/jobs/{name}" != path:  # which moves on
                assert head.headers["content-length"] == got.headers["content-length"]
        began = time.monotonic()
        events = http.head(f"/v1/jobs/{name}/events")
        assert events.status_code == 200 and events.content == b""
        assert events.headers["content-type"].startswith("text/event-stream")
        assert http.get(f"/v1/jobs/{name}").json()["status"] in ("queued", "running"), (
            f"{time.monotonic() - began} s"
        )
        refused = http.head(GENERATE.replace("generations", "generations/x"))
        assert refused.status_code == http.get(f"{GENERATE}/x").status_code
        nothing = http.head("/v1/jobs")
        assert nothing.status_code == 405 and nothing.headers["allow"] == "POST"
        http.delete(f"/v1/jobs/{name}")


def test_kept_jobs_have_room_together(models: Models) -> None:
    """A job's pictures and maps are counted once it has ended; who comes too late is told so."""
    with asking(models, job_bytes=200_000) as http:
        names = []
        for _ in range(3):
            name = http.post("/v1/jobs", json=BODY).json()["id"]
            until(lambda name=name: http.get(f"/v1/jobs/{name}").json()["status"] == "done")  # type: ignore[misc]
            names.append(name)
        late = http.get(f"/v1/jobs/{names[0]}")
        assert late.status_code == 404 and "while there is room" in late.json()["error"]["message"]
        assert http.get(f"/v1/jobs/{names[2]}/images/0").status_code == 200
    with asking(models, url_bytes=1) as http:
        body = {**BODY, "response_format": "url"}
        first, second = (http.post(GENERATE, json=body).json()["data"][0]["url"] for _ in range(2))
        assert http.get(first).status_code == 404 and http.get(second).status_code == 200


def test_a_body_that_does_not_come(models: Models) -> None:
    with asking(models, body_seconds=0.5) as http:

        def slow() -> Iterator[bytes]:
            yield b'{"prompt": "a'
            time.sleep(2)
            yield b' dog"}'

        headers = {"content-type": "application/json"}
        answer = http.post(GENERATE, content=slow(), headers=headers)
        assert answer.status_code == 408 and answer.json()["error"]["code"] == "body_too_slow"
        assert http.post(GENERATE, json=BODY).status_code == 200
        assert counts(http)["", "image_generation", "body_too_slow"] == 1


def test_as_many_streams_of_events_as_may_be(models: Models) -> None:
    with asking(models, max_streams=2) as http:
        name = http.post("/v1/jobs", json=LONG).json()["id"]
        path = f"/v1/jobs/{name}/events"
        with http.stream("GET", path) as first, http.stream("GET", path) as second:
            assert first.status_code == second.status_code == 200
            refused = http.get(path)
            assert refused.status_code == 429
            assert "2 streams of events of yours" in refused.json()["error"]["message"]
            assert http.get(f"/v1/jobs/{name}").status_code == 200
        http.delete(f"/v1/jobs/{name}")
        until(lambda: http.get(path).status_code == 200)
