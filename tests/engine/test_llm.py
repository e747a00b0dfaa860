"""Protects the reading of prompts by a language model: what is asked, what is taken of an answer,
and that a model that fails is told of, whatever it does. The endpoint is a stand-in of this file.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from fgdm.cli import command

pytest.importorskip("fgdm._core", reason="the C++ core is not built")
pytest.importorskip("openai", reason="fgdm[llm] is not installed")

import fgdm
from fgdm import BackendError, Engine, RequestError
from fgdm.llm import LanguageModel
from fgdm.requirements import Requirements

BUNDLE = Path(__file__).parents[2] / "bundles" / "scenes"
PALETTE: dict[str, Any] = json.loads((BUNDLE / "palette.json").read_text())
NOTHING = {"class": "dog", "at_least": None, "at_most": None, "color": None}
ANSWER = {
    "objects": [{**NOTHING, "at_least": 2, "at_most": 2}, {**NOTHING, "class": "sea"}],
    "relations": [
        {
            "subject": {"class": "dog", "count": 2, "which": None},
            "relation": "beside",
            "objects": [{"class": "sea", "count": None, "which": None}],
        }
    ],
    "absent": ["person"],
}

#: (status, body) of an answer; None closes the connection without a word.
Reply = tuple[int, bytes] | None


def completion(content: object) -> Reply:
    message = {"role": "assistant", "content": content}
    return 200, json.dumps({"id": "1", "choices": [{"index": 0, "message": message}]}).encode()


class StandIn:
    """An endpoint that answers each question in its turn; the last answer stays."""

    def __init__(self, *replies: Reply | Callable[[dict[str, Any]], Reply]) -> None:
        self.questions: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.pause = 0.0  # before an answer
        self.trickle = 0.0  # between its bytes
        self._replies = replies
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                stand_in._answer(self)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        question = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        self.questions.append({"path": request.path, **question})
        self.keys.append(request.headers["Authorization"])
        reply = self._replies[min(len(self.questions), len(self._replies)) - 1]
        if callable(reply):
            reply = reply(question)
        time.sleep(self.pause)
        if reply is None:
            request.connection.shutdown(socket.SHUT_RDWR)
            return
        status, body = reply
        with contextlib.suppress(OSError):  # who asked may be gone
            request.send_response(status)
            request.send_header("Content-Type", "application/json")
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            for at in range(0, len(body), 1 if self.trickle else len(body)):
                request.wfile.write(body[at : at + (1 if self.trickle else len(body))])
                time.sleep(self.trickle)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def endpoint() -> Iterator[Callable[..., StandIn]]:
    with contextlib.ExitStack() as stack:

        def make(*replies: Any) -> StandIn:
            made = StandIn(*replies)
            stack.callback(made.close)
            return made

        yield make


def test_an_answer_is_read_as_a_request_takes_it(endpoint: Callable[..., StandIn]) -> None:
    server = endpoint(completion(json.dumps(ANSWER)))
    reading = LanguageModel(server.url, "small", api_key="secret").read("two dogs", PALETTE)
    assert reading.requirements == {
        "objects": [{"class": "dog", "at_least": 2, "at_most": 2}, "sea"],
        "relations": [
            {"subject": {"class": "dog", "count": 2}, "relation": "beside", "object": "sea"}
        ],
        "absent": ["person"],
    }
    assert (reading.source, reading.problem, reading.attempts) == ("llm", "", 1)
    assert 0.0 < reading.seconds < 30.0
    assert server.keys == ["Bearer secret"]


@pytest.mark.parametrize("shots", [0, 1])
def test_what_the_model_is_asked(endpoint: Callable[..., StandIn], shots: int) -> None:
    """Zero-shot, or with one example, which is valid itself; no class but the palette's."""
    server = endpoint(completion(json.dumps(ANSWER)))
    LanguageModel(server.url, "small", shots=shots).read("two dogs", PALETTE)
    (question,) = server.questions
    assert question["path"] == "/v1/chat/completions"
    assert (question["model"], question["temperature"]) == ("small", 0.0)
    messages = question["messages"]
    assert len(messages) == 2 + 2 * shots
    assert messages[-1] == {"role": "user", "content": "two dogs"}
    assert "umbrella" in messages[0]["content"]
    form = question["response_format"]["json_schema"]
    assert form["strict"] is True
    assert set(form["schema"]["properties"]["absent"]["items"]["enum"]) == {
        entry["name"] for entry in PALETTE["classes"]
    }
    if shots:
        jsonschema.validate(json.loads(messages[2]["content"]), form["schema"])


def test_an_example_of_ones_own(endpoint: Callable[..., StandIn]) -> None:
    server = endpoint(completion(json.dumps(ANSWER)))
    required: Requirements = {
        "objects": ["cat", {"class": "dog", "count": 2, "color": "red"}],
        "relations": [{"subject": "cat", "relation": "between", "object": ["dog", "dog"]}],
    }
    LanguageModel(server.url, "small", example=("a cat", required)).read("two dogs", PALETTE)
    shown = json.loads(server.questions[0]["messages"][2]["content"])
    jsonschema.validate(shown, server.questions[0]["response_format"]["json_schema"]["schema"])
    assert shown["objects"][1] == {"class": "dog", "at_least": 2, "at_most": 2, "color": "red"}
    assert len(shown["relations"][0]["objects"]) == 2


def changed(**parts: object) -> Reply:
    return completion(json.dumps({**ANSWER, **parts}))


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (completion("two dogs, I think"), "it is no JSON"),
        (completion('{"objects": ['), "it is no JSON"),
        (completion("[" * 100_000), "it is no JSON"),
        (completion("[]"), "is not of type 'object'"),
        (completion('{"objects": []}'), "is a required property"),
        (changed(absent=["unicorn"]), "'unicorn' is not one of"),
        (changed(objects=[{**NOTHING, "at_least": -1}]), "at_least is -1"),
        (changed(objects=[{**NOTHING, "at_least": 3, "at_most": 2}]), "at most 2"),
        (changed(objects=[{**NOTHING, "class": "sea", "at_least": 2}]), "is background"),
        (changed(absent=["dog"]), "required too"),
        (changed(more=[]), "'more' was unexpected"),
        (completion(None), "has no text but NoneType"),
        ((200, b"<html>"), "is no chat completion"),
        ((200, b'{"choices": []}'), "is no chat completion"),
        ((200, b" " * 2**21), "is longer than"),
        ((500, b"oh"), "status 500"),
        ((404, b"{}"), "status 404"),
        ((400, b'{"error": {"message": "what?"}}'), "refused the question"),
        (None, "can't be reached"),
    ],
)
def test_a_model_that_fails_is_told_of(
    endpoint: Callable[..., StandIn], reply: Reply, problem: str
) -> None:
    server = endpoint(reply)
    model = LanguageModel(server.url, "small")
    reading = model.read("two dogs", PALETTE)
    assert reading.requirements is None
    assert reading.source == "prompt"
    assert problem in reading.problem
    model.fallback = "error"
    with pytest.raises(BackendError, match="didn't read the prompt"):
        model.read("two dogs", PALETTE)


def test_a_bad_answer_is_told_to_the_model(endpoint: Callable[..., StandIn]) -> None:
    server = endpoint(changed(absent=["unicorn"]), completion(json.dumps(ANSWER)))
    reading = LanguageModel(server.url, "small", attempts=3).read("two dogs", PALETTE)
    assert (reading.source, reading.attempts) == ("llm", 2)
    told = server.questions[1]["messages"][-1]["content"]
    assert "'unicorn' is not one of" in told


def test_a_server_that_takes_schemas_in_another_form(endpoint: Callable[..., StandIn]) -> None:
    """llama-cpp-python's knows {"type": "json_object", "schema": ...}, and refuses the other."""

    def answer(question: dict[str, Any]) -> Reply:
        if question["response_format"]["type"] != "json_object":
            return 422, b'{"error": {"message": "unknown type"}}'
        return completion(json.dumps(ANSWER))

    server = endpoint(answer)
    model = LanguageModel(server.url, "small")
    for _ in range(2):
        assert model.read("two dogs", PALETTE).source == "llm"
    kinds = [question["response_format"]["type"] for question in server.questions]
    assert kinds == ["json_schema", "json_object", "json_object"], "it is asked once how"
    assert "dog" in json.dumps(server.questions[1]["response_format"]["schema"])


@pytest.mark.parametrize("way", ["pause", "trickle"])
def test_a_slow_model_is_not_waited_for(endpoint: Callable[..., StandIn], way: str) -> None:
    server = endpoint(completion(json.dumps(ANSWER)))
    setattr(server, way, 2.0 if way == "pause" else 0.05)
    begin = time.monotonic()
    reading = LanguageModel(server.url, "small", timeout=0.5).read("two dogs", PALETTE)
    assert time.monotonic() - begin < 1.9
    assert reading.problem == "no answer within 0.5 s"


def test_the_environments_key_of_others_is_not_sent(
    endpoint: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "theirs")
    server = endpoint(completion(json.dumps(ANSWER)))
    LanguageModel(server.url, "small").read("two dogs", PALETTE)
    monkeypatch.setenv("FGDM_LLM_API_KEY", "ours")
    LanguageModel(server.url, "small").read("two dogs", PALETTE)
    assert server.keys == ["Bearer none", "Bearer ours"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_url": "somewhere"}, "expected an address"),
        ({"timeout": 0.0}, "expected seconds"),
        ({"timeout": float("nan")}, "expected seconds"),
        ({"attempts": 0}, "expected 1 to 10"),
        ({"shots": 2}, "expected 0 or 1"),
        ({"fallback": "luck"}, 'expected "prompt" or "error"'),
    ],
)
def test_what_can_not_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        LanguageModel(**{"base_url": "http://127.0.0.1:1/v1", "model": "small", **options})


def test_a_result_says_who_read_its_prompt(
    endpoint: Callable[..., StandIn], tiny_bundle: Path
) -> None:
    """The requirements that a request is checked against are the model's, or the grammar's."""
    with Engine(tiny_bundle, threads=1) as engine:
        names = engine.classes
        thing = {"class": names[1], "at_least": 2, "at_most": 2, "color": None}
        server = endpoint(
            completion(json.dumps({"objects": [thing], "relations": [], "absent": []})), (500, b"")
        )
        model = LanguageModel(server.url, "small")
        quick: dict[str, Any] = {"candidates": 1, "condition_steps": 1, "num_inference_steps": 1}
        for source in ("llm", "prompt"):
            reading = model.read("a picture", engine.palette)
            result = engine.generate("a picture", requirements=reading, seed=1, **quick)
            assert result.reading is not None
            assert result.reading.source == source
            texts = [one.text for one in result.requirements]
            assert texts == ([names[1], f"2 {names[1]}"] if source == "llm" else [])
            told = result.to_json()
            schema = Path(fgdm.__file__).with_name("result.schema.json")
            jsonschema.validate(told, json.loads(schema.read_text()))
            assert told["reading"] == result.reading.to_json()


def test_the_command_asks_and_tells(
    endpoint: Callable[..., StandIn],
    tiny_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = endpoint((500, b"oh"))
    words = [
        *("generate", "a dog", "--bundle", str(tiny_bundle), "--output", str(tmp_path / "out")),
        *("--candidates", "1", "--condition-steps", "1", "--num-inference-steps", "1"),
        *("--requirements-from", "llm", "--llm-base-url", server.url, "--llm-model", "small"),
    ]
    assert command.main(words) == 0
    assert "NOT read by small, so by fgdm's grammar: it answered with status 500" in (
        capsys.readouterr().out
    )
    told = json.loads((tmp_path / "out/result.json").read_text())
    assert told["reading"]["source"] == "prompt"
    assert command.main([*words, "--llm-fallback", "error"]) != 0
    assert "didn't read the prompt" in capsys.readouterr().err
    assert command.main([*words[:-2]]) != 0
    assert "needs --llm-base-url URL and --llm-model NAME" in capsys.readouterr().err
