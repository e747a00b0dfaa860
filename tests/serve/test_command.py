"""``fgdm serve`` as a process: where it listens, whom it lets in, how it ends."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from fgdm import OutOfMemoryError, RequestError
from fgdm.cli.command import main

from tests.serve.conftest import QUICK, SCENES, until

ROOT = Path(__file__).parents[2]
BODY = {"prompt": "two dogs beside a house", "seed": 1, **QUICK}


@contextmanager
def service(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and its address."""
    command = [sys.executable, "-m", "fgdm", "serve", str(SCENES), "--port", "0", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            match = re.fullmatch(r"fgdm serves scenes at (http://127\.0\.0\.1:\d+)\n", line)
            assert match, line or process.communicate()[1]
            yield process, match[1]
        finally:
            if process.poll() is None:
                process.kill()


def test_sigterm_lets_running_requests_end() -> None:
    long = {**BODY, "num_inference_steps": 20}
    with service("--log-prompts", "--grace-seconds", "300") as (process, address):
        answers: list[httpx.Response] = []
        stream_begun = threading.Event()

        def ask() -> None:
            with httpx.stream(
                "POST",
                f"{address}/v1/images/generations",
                json={**long, "stream": True, "partial_images": 3},
                timeout=120,
            ) as stream:
                stream_begun.set()
                stream.read()
                answers.append(stream)

        asking = threading.Thread(target=ask)
        asking.start()
        assert stream_begun.wait(60)
        process.send_signal(signal.SIGTERM)
        asking.join(120)
        _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    (answer,) = answers
    assert answer.status_code == 200 and "image_generation.completed" in answer.text
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    (told,) = [line["message"] for line in lines if "message" in line]
    assert "scenes is open" in told
    (line,) = [line for line in lines if "id" in line]
    assert line["status"] == 200 and line["prompt"] == BODY["prompt"] and line["n"] == 1


def test_what_takes_longer_than_the_grace_is_told_so() -> None:
    """In an answer of its own, not by a connection that breaks."""
    long = {**BODY, "num_inference_steps": 100, "candidates": 32, "condition_steps": 100}
    with service("--grace-seconds", "0.5") as (process, address):
        answers: dict[str, httpx.Response] = {}
        name = httpx.post(f"{address}/v1/jobs", json=long).json()["id"]

        def ask(kind: str, method: str, path: str, body: object) -> None:
            answers[kind] = httpx.request(method, address + path, json=body, timeout=120)

        path = "/v1/images/generations"
        asking = [
            threading.Thread(target=ask, args=args)
            for args in (
                ("whole", "POST", path, long),
                ("stream", "POST", path, {**long, "stream": True}),
                ("events", "GET", f"/v1/jobs/{name}/events", None),
            )
        ]
        for thread in asking:
            thread.start()
        until(lambda: 'fgdm_engine_accepted_total{model="scenes"} 3.0' in metrics(address))
        slow = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))
        slow.sendall(
            b"POST /v1/jobs HTTP/1.1\r\nhost: service\r\ncontent-type: application/json\r\n"
            b"content-length: 100\r\n\r\n{"
        )
        process.send_signal(signal.SIGTERM)
        for thread in asking:
            thread.join(120)
        _, log = process.communicate(timeout=60)
        with slow:
            assert slow.recv(65536).startswith(b"HTTP/1.1 503 "), "its body isn't waited for"
    assert process.returncode == 0, log
    assert answers["whole"].status_code == 503
    assert answers["whole"].json()["error"]["code"] == "draining"
    assert answers["stream"].status_code == answers["events"].status_code == 200
    assert "event: error" in answers["stream"].text and "cancelled" in answers["stream"].text
    assert "event: job.cancelled" in answers["events"].text
    assert "Traceback" not in log, log


def metrics(address: str) -> str:
    return httpx.get(f"{address}/metrics").text


def test_the_documented_curl_commands(tmp_path: Path) -> None:
    """Those of docs/serving.md, one after another in one shell."""
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\n(curl .*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 3
    with service() as (_, address):
        for block in blocks:
            script = "set -eo pipefail\n" + block.replace("http://localhost:8000", address)
            done = subprocess.run(
                ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, (script, done.stderr)
            assert '"error"' not in done.stdout, (script, done.stdout)
    assert (tmp_path / "image.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--host 0.0.0.0", "--api-key-file"),
        ("--host 0.0.0.0 --api-key-file none.txt", "can't read the keys"),
        ("--max-images 0", "--max-images is 0"),
        ("--forbid unicorn --port 0", "unicorn"),
        ("--grace-seconds 5 --port 99999", "can't listen"),
    ],
)
def test_what_is_refused(options: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(SCENES), *shlex.split(options)]) == 2
    assert words in capsys.readouterr().err


def test_an_address_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["serve", str(SCENES), "--port", str(taken.getsockname()[1])]) == 2
    assert "take another --port" in capsys.readouterr().err


def test_bundles_have_names_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(SCENES), str(SCENES), "--port", "0"]) == 2
    assert "two bundles are called scenes" in capsys.readouterr().err
    assert main(["serve", f"={SCENES}", "--port", "0"]) == 2
    assert "has an empty name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("aliases", "words"),
    [
        (["dall-e-3"], "--alias dall-e-3 names no bundle; expected ALIAS=NAME"),
        (["dall-e-3=large"], "dall-e-3 is for large, which isn't served; expected one of scenes"),
        (["dall-e-3="], "dall-e-3 is for nothing"),
        (["=scenes"], "the alias for scenes is empty"),
        (["scenes=scenes"], "would hide the bundle of that name"),
        (["a=scenes", "a=scenes"], "--alias a is given twice, for scenes and scenes"),
    ],
)
def test_aliases_that_are_of_no_use(
    aliases: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [option for alias in aliases for option in ("--alias", alias)]
    assert main(["serve", str(SCENES), "--port", "0", *options]) == 2
    assert words in capsys.readouterr().err


def test_a_package_that_is_missing_is_told_before_a_bundle_is_opened(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "uvicorn" else found(name)
    )
    assert main(["serve", "no_such_bundle"]) == 2
    assert "needs the package uvicorn" in capsys.readouterr().err


def test_no_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(tmp_path), "--port", "0"]) == 3
    assert "manifest.json" in capsys.readouterr().err


@pytest.mark.parametrize(("memory", "said"), [("full", "no room"), ("low", "opened with low")])
def test_all_weights_need_room_unless_they_are_never_all_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], memory: str, said: str
) -> None:
    def refuse(_: object) -> None:
        raise OutOfMemoryError("no room")

    def opened(*_: object, memory: str, **__: object) -> None:
        raise RequestError(f"opened with {memory}")

    monkeypatch.setattr("fgdm.serve.cli.check_memory", refuse)
    monkeypatch.setattr("fgdm.serve.cli.Engine", opened)
    assert main(["serve", str(SCENES), "--port", "0", "--memory", memory]) != 0
    assert said in capsys.readouterr().err
