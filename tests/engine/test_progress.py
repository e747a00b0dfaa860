"""Protects what people and logs see while they wait."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator

from fgdm.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def ticking(step: float) -> Iterator[float]:
    return itertools.count(0.0, step)


def test_terminal_line_is_redrawn_in_place() -> None:
    stream = Terminal()
    clock = ticking(1.0)
    with Progress(stream, clock=lambda: next(clock)) as progress:
        progress.stage("loading")
        for done in range(1, 5):
            progress.step("image", done, 4)
    text = stream.getvalue()
    assert text.count("\n") == 2  # one a stage, so the next one doesn't overwrite it
    assert text.endswith("\n")
    assert "2/4" in text and "left" in text
    last = text.rstrip("\n").split("\r")[-1]
    assert "4/4" in last and "left" not in last
    assert "#" * 24 in last


def test_time_left_is_the_mean_step_times_the_steps_to_go() -> None:
    stream = Terminal()
    now = 100.0
    progress = Progress(stream, clock=lambda: now)
    progress.step("image", 0, 10)
    now = 106.0
    progress.step("image", 2, 10)
    assert "24 s left" in stream.getvalue().split("\r")[-1]


def test_a_part_that_starts_over_is_timed_anew() -> None:
    stream = Terminal()
    now = 0.0
    progress = Progress(stream, clock=lambda: now)
    for start in (0.0, 1000.0):
        for done in range(1, 11):
            now = start + done
            progress.step("segmentation", done, 10)
    assert stream.getvalue().split("\r")[-1].count("9.0 s") == 1
    assert stream.getvalue().count("\n") == 1


def test_narrow_terminal_is_never_wrapped() -> None:
    stream = Terminal()
    with Progress(stream) as progress:
        progress.stage("x" * 500)
        progress.step("y" * 500, 1, 1000)
    lines = stream.getvalue().replace("\n", "\r").replace("\x1b[K", "").split("\r")
    assert max(map(len, lines)) < 500


def test_logs_get_plain_lines_at_most_one_a_second() -> None:
    stream = io.StringIO()
    clock = ticking(0.05)
    with Progress(stream, clock=lambda: next(clock)) as progress:
        for done in range(1, 101):
            progress.step("image", done, 100)
    text = stream.getvalue()
    assert "\r" not in text and "\x1b" not in text
    lines = text.splitlines()
    assert lines[0] == "image"
    assert lines[-1].startswith("image: step 100 of 100") and "left" not in lines[-1]
    assert all(line.endswith(" s left") for line in lines[1:-1])
    assert len(lines) <= 2 + 100 * 3 * 0.05


def test_closing_twice_writes_nothing_more() -> None:
    stream = Terminal()
    progress = Progress(stream)
    progress.stage("loading")
    progress.close()
    before = stream.getvalue()
    progress.close()
    assert stream.getvalue() == before
