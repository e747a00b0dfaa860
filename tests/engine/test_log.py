"""What the core tells reaches Python's logging: in time, at exit, in forked children."""

from __future__ import annotations

import logging
import queue
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fgdm.engine import Engine

from tests.engine.endings import python

QUICK: dict[str, Any] = {"candidates": 1, "condition_steps": 1, "num_inference_steps": 1}

Records = queue.SimpleQueue[logging.LogRecord]


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records = Records()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.put(record)


@pytest.fixture
def records() -> Iterator[Records]:
    logger, handler = logging.getLogger("fgdm"), Kept()
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    yield handler.records
    logger.setLevel(level)
    logger.removeHandler(handler)


def first(records: Records) -> logging.LogRecord:
    """The line of an engine's opening; an earlier test's last ones may come before it."""
    while "is open" not in (record := records.get(timeout=30)).getMessage():
        pass
    return record


def test_how_an_engine_was_opened_and_its_notes(tiny_bundle: Path, records: Records) -> None:
    with Engine(tiny_bundle, device=7) as engine:
        opened = first(records)
        assert opened.levelno == logging.INFO
        assert f"is open: {engine.info.runtime} on cpu, fp32" in opened.getMessage()
        for note in engine.notes:
            told = records.get(timeout=30)
            assert told.levelno == logging.WARNING
            assert told.getMessage().endswith(note)
        assert any("device 7" in note for note in engine.notes)


def test_a_handler_may_use_engines(tiny_bundle: Path, records: Records) -> None:
    """The line comes from another thread than the one that holds the engine's locks."""
    done: queue.SimpleQueue[bool] = queue.SimpleQueue()

    class Using(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logging.getLogger("fgdm").removeHandler(self)
            with Engine(tiny_bundle, backend="cpu") as inner:
                done.put(inner.generate("a dog", **QUICK).image is not None)

    logging.getLogger("fgdm").addHandler(Using())
    with Engine(tiny_bundle, backend="cpu"):
        assert done.get(timeout=60)


def test_what_a_handler_raises_ends_nothing(
    tiny_bundle: Path, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: queue.SimpleQueue[Any] = queue.SimpleQueue()
    monkeypatch.setattr(sys, "unraisablehook", raised.put)

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logging.getLogger("fgdm").removeHandler(self)
            raise OSError("no room for a log")

    logging.getLogger("fgdm").addHandler(Broken())
    with Engine(tiny_bundle, backend="cpu"):
        assert str(raised.get(timeout=30).exc_value) == "no room for a log"
        first(records)
        assert records.get(timeout=30).levelno == logging.WARNING  # what is told after it


SETUP = (
    "import logging, os, sys\n"
    "from fgdm.engine import Engine\n"
    "form = '%(process)d %(levelname)s %(name)s %(message)s'\n"
    "logging.basicConfig(level=logging.INFO, format=form)\n"
)


def test_the_last_lines_are_told_before_the_process_ends(tiny_bundle: Path) -> None:
    done = python(SETUP + f"engine = Engine({str(tiny_bundle)!r}, backend='cpu')\n")
    assert done.returncode == 0, done.stderr
    assert "INFO fgdm " in done.stderr
    assert "is open" in done.stderr


def test_a_forked_child_tells_its_own(tiny_bundle: Path) -> None:
    program = SETUP + (
        f"bundle = {str(tiny_bundle)!r}\n"
        "engine = Engine(bundle, backend='cpu')\n"
        "for _ in range(3):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        Engine(bundle, backend='cpu')\n"
        "        sys.exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
    )
    done = python(program, timeout=120)
    assert done.returncode == 0, done.stderr
    tellers = [line.split()[0] for line in done.stderr.splitlines() if "is open" in line]
    assert len(tellers) == 4
    assert len(set(tellers)) == 4


def test_nobody_who_does_not_ask_is_told(tiny_bundle: Path) -> None:
    done = python(
        f"from fgdm.engine import Engine\nassert Engine({str(tiny_bundle)!r}, device=7).notes\n",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
