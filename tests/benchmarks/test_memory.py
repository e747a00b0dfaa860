"""Stages are told apart by the graphs that ran, and a sample counts where it lies."""

from __future__ import annotations

import json

import pytest

from benchmarks.memory_stages import Span, peaks, read_timeline, stages_of
from benchmarks.process_memory import Sample

GRAPHS = ["text", "adapter", "backbone", "decoder", "decoder", "controlnet", "backbone", "decoder"]
SPANS = [Span(graph, float(i), i + 0.9) for i, graph in enumerate(GRAPHS)]


def test_what_comes_after_the_last_decoded_map_is_the_pictures() -> None:
    assert stages_of(SPANS, "text", {"decoder"}) == [
        "text",
        *("maps", "maps", "decode maps", "decode maps"),
        *("picture", "picture", "decode picture"),
    ]


def test_a_chain_without_maps_has_a_picture_alone() -> None:
    spans = [SPANS[0], *SPANS[5:]]
    assert stages_of(spans, "text", {"decoder"}) == ["text", "picture", "picture", "decode picture"]


def test_a_sample_counts_for_the_stage_that_it_lies_in() -> None:
    def sample(begin: float, end: float, peak: float) -> Sample:
        return Sample(begin + 100, end + 100, peak, peak - 1, 1)

    samples = [
        sample(0.1, 0.2, 5),
        sample(0.2, 1.1, 99),  # of two stages: nobody knows of which
        sample(3.1, 3.2, 7),
        sample(4.3, 4.4, 8),
        sample(7.0, 7.1, 6),
    ]
    found = peaks(samples, SPANS, stages_of(SPANS, "text", {"decoder"}), 100)
    assert {stage: size["peak_mb"] for stage, size in found.items()} == {
        "text": 5,
        "decode maps": 8,
        "decode picture": 6,
    }
    assert found["decode maps"]["seconds"] == pytest.approx(1.8)
    assert found["text"]["anonymous_mb"] == 4


def test_a_timeline_has_calls_in_seconds_and_the_requests_end() -> None:
    events = [
        {"ph": "M", "name": "process_name"},
        {"ph": "X", "tid": "sessions", "name": "backbone", "ts": 2e6, "dur": 5e5},
        {"ph": "X", "tid": "batches", "name": "4 rows", "ts": 2e6, "dur": 6e5},
        {"ph": "X", "tid": "sessions", "name": "text", "ts": 1e6, "dur": 1e5},
        {"ph": "e", "tid": "requests", "name": "request 0", "ts": 3e6},
    ]
    spans, ended = read_timeline(json.dumps(events))
    assert spans == [Span("text", 1.0, 1.1), Span("backbone", 2.0, 2.5)]
    assert ended == 3.0
