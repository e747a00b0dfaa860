"""Protects pictures that a service scores and paints again: where its operator named a scorer, as
the engine's own function does it, and ended by whatever ends a request."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fgdm import errors, repaint
from fgdm.cli import command
from fgdm.engine import Engine
from fgdm.requirements import Requirements
from fgdm.scorers import Score
from fgdm.serve.attempts import Attempts
from fgdm.serve.models import Models
from fgdm.serve.requests import ImageRequest, read_task
from fgdm.serve.settings import Settings
from PIL import Image

from tests.engine.test_repaint import COLORS, Scripted, nearest_color
from tests.serve.conftest import SCENES, serving, until, until_idle

GENERATE = "/v1/images/generations"
QUICK: dict[str, Any] = {
    **{"candidates": 2, "condition_steps": 1},
    **{"num_inference_steps": 1, "stop_at_recall": 0},
}
BODY: dict[str, Any] = {"prompt": "two dogs", "seed": 7, "repaint": 3, **QUICK}


class Named(Scripted):
    """Remembers on which threads it was called."""

    def __init__(self, *values: float) -> None:
        super().__init__(*values)
        self.threads: set[str] = set()

    def __call__(self, image: Image.Image, prompt: str, requirements: Requirements) -> Score:
        self.threads.add(threading.current_thread().name)
        return super().__call__(image, prompt, requirements)


class Held:
    """A scorer that takes until it is let go, and fails every picture."""

    def __init__(self) -> None:
        self.began, self.free = threading.Event(), threading.Event()

    def __call__(self, image: Image.Image, prompt: str, requirements: Requirements) -> Score:
        self.began.set()
        assert self.free.wait(60)
        return Score(0.0, False)


@contextmanager
def asking(engine: Engine, scorer: Any, **settings: Any) -> Iterator[httpx.Client]:
    models = Models({"scenes": engine}, scorers={"scenes": scorer})
    with (
        serving(models, Settings(**settings)) as address,
        httpx.Client(base_url=address, timeout=60) as http,
    ):
        yield http


@pytest.fixture
def held() -> Iterator[Held]:
    scorer = Held()
    yield scorer
    scorer.free.set()


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


def test_what_the_engines_function_does(engine: Engine) -> None:
    values = (0.1, 0.4, 0.2, 1.0)
    options = {key: value for key, value in BODY.items() if key != "prompt"}
    expected = repaint.generate(engine, BODY["prompt"], Scripted(*values), **options)
    assert expected.repaint is not None and len(expected.repaint.attempts) == 4
    scorer = Named(*values)
    with asking(engine, scorer) as http:
        answer = http.post(GENERATE, json=BODY).json()
    told = answer["data"][0]["fgdm"]
    assert told["repaint"] == expected.repaint.to_json()
    assert (told["repaint"]["passed"], told["repaint"]["kept"]) == (True, 3)
    assert [one["seed"] for one in told["repaint"]["attempts"]] == [7, 7, 8, 8]
    with Image.open(io.BytesIO(base64.b64decode(answer["data"][0]["b64_json"]))) as picture:
        assert (np.asarray(picture) == np.asarray(expected.image)).all()
    assert answer["usage"]["output_tokens"] == 2 * (2 * 2 * 1) + 4 * 2, "maps twice, 4 pictures"
    assert expected.map_rows == 8
    (thread,) = scorer.threads
    assert thread.startswith("fgdm-scorer")


def test_progress_tells_the_attempt(engine: Engine) -> None:
    with asking(engine, Scripted(0.0, 1.0, 0.0, 1.0)) as http:
        job = http.post("/v1/jobs", json=BODY).json()["id"]
        events = events_of(http.get(f"/v1/jobs/{job}/events").text)
        streamed = {**BODY, "num_inference_steps": 4, "stream": True, "partial_images": 2}
        *partial, completed = events_of(http.post(GENERATE, json=streamed).text)
        numbers = http.get("/metrics").text
    seen = {one["attempt"] for event in events for one in event.get("maps", ())}
    assert seen == {0, 1}
    for event in events:
        assert len({one["attempt"] for one in event.get("maps", ())}) <= 1, "those of the newest"
    steps = [event["progress"]["attempt"] for event in events if "progress" in event]
    assert steps == sorted(steps) and set(steps) <= {0, 1}
    (result,) = events[-1]["results"]
    assert len(result["repaint"]["attempts"]) == 2 and result["repaint"]["passed"]
    assert [event["fgdm"]["attempt"] for event in partial] == [0, 0, 1, 1]
    assert completed["fgdm"]["repaint"]["kept"] == 1
    assert 'fgdm_attempts_total{model="scenes",passed="false"} 2.0' in numbers
    assert 'fgdm_attempts_total{model="scenes",passed="true"} 2.0' in numbers


def test_pictures_of_one_request_never_share_a_seed(engine: Engine) -> None:
    body = {**BODY, "n": 2, "repaint": 1, "candidates": 1}
    with asking(engine, Scripted(*[0.0] * 4)) as http:
        answer = http.post(GENERATE, json=body).json()
    seeds = [[one["seed"] for one in p["fgdm"]["repaint"]["attempts"]] for p in answer["data"]]
    assert seeds == [[7, 9], [8, 10]]


def test_without_repaint_nothing_is_scored(engine: Engine) -> None:
    scorer = Scripted(1.0)
    body = {key: value for key, value in BODY.items() if key != "repaint"}
    with asking(engine, scorer) as http:
        assert "repaint" not in http.post(GENERATE, json=body).json()["data"][0]["fgdm"]
        assert not scorer.seen
        told = http.post(GENERATE, json={**body, "repaint": 0}).json()["data"][0]["fgdm"]
    assert len(told["repaint"]["attempts"]) == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"repaint": 4}, "at most 3 more"),
        ({"repaint": -1}, "greater than or equal to 0"),
        ({"joint": ["segmentation", "image"]}, "leave joint out"),
    ],
)
def test_what_is_refused(engine: Engine, fields: dict[str, Any], words: str) -> None:
    before = engine.metrics()["accepted"]
    with asking(engine, Scripted()) as http:
        for path in (GENERATE, "/v1/jobs", "/v1/studio/jobs"):
            refused = http.post(path, json={**BODY, **fields})
            assert refused.status_code == 400
            error = refused.json()["error"]
            assert error["param"] == "repaint" and words in error["message"]
    assert engine.metrics()["accepted"] == before


def test_a_bundles_own_segmenter_scores(address: str) -> None:
    told = httpx.post(f"{address}{GENERATE}", json={**BODY, "repaint": 1}, timeout=60).json()
    attempts = told["data"][0]["fgdm"]["repaint"]["attempts"]
    assert {word for one in attempts for word in (*one["met"], *one["unmet"])} == {"dog", "2 dog"}


def test_an_operator_may_allow_no_second_picture(engine: Engine) -> None:
    with asking(engine, Scripted(0.0), max_repaint=0) as http:
        refused = http.post(GENERATE, json={**BODY, "repaint": 1})
        assert refused.status_code == 400 and "at most 0 more" in refused.text
        told = http.post(GENERATE, json={**BODY, "repaint": 0}).json()["data"][0]["fgdm"]
    assert not told["repaint"]["passed"], "it is looked at"


def test_a_segmenter_that_does_not_run_is_not_offered(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As without Python's onnxruntime: the service paints all the same."""

    def absent(*_: Any) -> Any:
        raise errors.BackendError("onnxruntime is missing")

    with Engine(SCENES, threads=1) as scenes:
        monkeypatch.setattr(scenes, "segment", absent)
        assert Models({"scenes": scenes}).find(None).scoring is None
    assert "none is repainted: onnxruntime is missing" in caplog.text


def test_without_a_scorer_the_operators_option_is_named(tiny_bundle: Path) -> None:
    with (
        Engine(tiny_bundle, threads=1) as tiny,
        serving(Models({"tiny": tiny}), Settings()) as address,
    ):
        for path in (GENERATE, "/v1/jobs", "/v1/studio/jobs"):
            refused = httpx.post(f"{address}{path}", json={**BODY, "repaint": 0})
            assert refused.status_code == 400
            error = refused.json()["error"]
            assert error["param"] == "repaint" and "--segmenter" in error["message"]
        document = httpx.get(f"{address}/openapi.json").json()
    assert "repaint" in document["components"]["schemas"]["ImageRequest"]["properties"]


def test_others_are_answered_while_a_picture_is_scored(engine: Engine, held: Held) -> None:
    body = {key: value for key, value in BODY.items() if key != "repaint"}
    with asking(engine, held) as http:
        job = http.post("/v1/jobs", json=BODY).json()["id"]
        until(held.began.is_set)
        assert http.post(GENERATE, json=body).status_code == 200, "the engine works, and the loop"
        assert http.get(f"/v1/jobs/{job}").json()["status"] == "running"
        held.free.set()
        until(lambda: http.get(f"/v1/jobs/{job}").json()["status"] == "done")


def test_what_ends_a_request_ends_it_while_it_is_scored(engine: Engine, held: Held) -> None:
    """A cancelled job, a deadline, a client that leaves; no further picture is painted."""
    until_idle(engine)
    accepted = engine.metrics()["accepted"]
    with asking(engine, held) as http:
        job = http.post("/v1/jobs", json=BODY).json()["id"]
        until(held.began.is_set)
        http.delete(f"/v1/jobs/{job}")
        until(lambda: http.get(f"/v1/jobs/{job}").json()["status"] == "cancelled")
        late = http.post(GENERATE, json={**BODY, "deadline": 1.5})
        assert late.status_code == 504
        assert "the deadline of 1.5 s" in late.json()["error"]["message"]
        with http.stream("POST", GENERATE, json={**BODY, "stream": True}) as stream:
            assert stream.status_code == 200
        left = 'fgdm_requests_total{kind="image_generation",model="scenes",outcome="cancelled"} 2.0'
        until(lambda: left in http.get("/metrics").text)
    assert engine.metrics()["accepted"] <= accepted + 3
    held.free.set()


def test_a_service_that_ends_does_not_wait_for_a_scorer(engine: Engine, held: Held) -> None:
    with asking(engine, held, grace_seconds=0.1) as http:
        http.post("/v1/jobs", json=BODY)
        until(held.began.is_set)
    assert not held.free.is_set()


def test_a_deadline_is_that_of_all_attempts(engine: Engine) -> None:
    """Each attempt has what is left; in one that is at work the engine itself keeps to it."""
    given: list[float] = []

    class Watched:
        manifest, palette, watermark = engine.manifest, engine.palette, None
        find_requirements = engine.find_requirements

        def submit(self, prompt: str, **options: Any) -> Any:
            given.append(options["deadline"])
            return engine.submit(prompt, **options)

    models = Models({"watched": Watched()}, scorers={"watched": Scripted(*[0.0] * 4)})  # type: ignore[dict-item]
    with serving(models, Settings()) as address:
        body = {**BODY, "deadline": 60}
        assert httpx.post(f"{address}{GENERATE}", json=body, timeout=60).status_code == 200
    assert len(given) == 4 and given[0] == 60
    assert given == sorted(given, reverse=True) and given[-1] < 60


def test_a_further_attempt_waits_for_room_in_the_queue(engine: Engine) -> None:
    model = Models({"scenes": engine}, scorers={"scenes": Scripted(0.0, 1.0)}).find(None)
    task = read_task(ImageRequest.model_validate(BODY), model, Settings())
    asked: list[int] = []

    def submit(attempt: int, options: Any) -> Any:
        asked.append(attempt)
        if len(asked) in (2, 3):
            raise errors.QueueFullError("the queue is full")
        return engine.submit(task.prompt, **options)

    async def paint() -> Any:
        return await Attempts(task, task.seed, submit)

    result = asyncio.run(paint())
    assert asked == [0, 1, 1, 1] and result.repaint.kept == 1


def test_a_segmenter_that_does_not_fit_is_refused_before_serving(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = nearest_color(tmp_path / "few.onnx", COLORS[:5])
    for words, what in (
        ([str(few)], "few.onnx can't be used: the segmenter's output has shape (1, 5,"),
        ([str(tmp_path / "absent.onnx")], "expected an ONNX file"),
        ([f"other={few}"], "is for other, which isn't served"),
        ([f"scenes={few}", "--segmenter", str(few)], "scenes has two segmenters"),
        ([str(few), "--max-repaint", "-1"], "--max-repaint is -1; expected 0 or more"),
    ):
        serve = ["serve", str(SCENES), "--port", "0", "--threads", "1", "--segmenter", *words]
        assert command.main(serve) != 0
        told = capsys.readouterr()
        assert what in told.err and "serves" not in told.out
    serve = ["serve", str(SCENES), f"more={SCENES}", "--port", "0", "--segmenter", str(few)]
    assert command.main(serve) == 2
    assert "expected NAME=FILE with one of scenes, more" in capsys.readouterr().err
