"""A service of the shipped bundle on a free port, and one over engines that are told what to do."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import uvicorn

pytest.importorskip("fgdm._core", reason="the compiled core isn't built")

from fgdm.engine import Engine
from fgdm.serve.app import create_app
from fgdm.serve.models import Models
from fgdm.serve.settings import Settings

SCENES = Path(__file__).parents[2] / "bundles" / "scenes"
#: Options of the engine that make a small picture in a moment.
QUICK: dict[str, Any] = {
    **{"candidates": 2, "condition_steps": 2},
    **{"num_inference_steps": 4, "stop_at_recall": 0},
}


@contextlib.contextmanager
def serving(models: Models, settings: Settings) -> Iterator[str]:
    """The address of a service that runs on a thread of its own."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(models, settings), log_level="warning", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def until(holds: Callable[[], bool]) -> None:
    """Waits until it does, four minutes at most."""
    end = time.monotonic() + 240
    while not holds():
        assert time.monotonic() < end, "it took longer than four minutes"
        time.sleep(0.05)


def until_idle(engine: Engine) -> None:
    """Waits until nothing is at work: what an earlier test left has ended and is counted."""

    def idle() -> bool:
        numbers = engine.metrics()
        ended = numbers["finished"] + numbers["failed"] + numbers["cancelled"]
        return bool(numbers["queued"] == numbers["active"] == 0 and numbers["accepted"] == ended)

    until(idle)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with Engine(SCENES, backend="cpu", threads=1) as opened:
        yield opened


@pytest.fixture(scope="session")
def models(engine: Engine) -> Models:
    return Models({"scenes": engine})


@pytest.fixture(scope="session")
def address(models: Models) -> Iterator[str]:
    """Of a service that nobody needs a key for."""
    with serving(models, Settings(max_body_bytes=2**20, max_steps=30)) as found:
        yield found


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    """The official client, which tries nothing twice."""
    with openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as made:
        yield made
