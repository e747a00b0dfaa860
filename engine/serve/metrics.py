"""What Prometheus reads: requests by outcome, recall, and what the engines have done."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from fgdm.result import Result
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from .models import Models
from .requests import Task

_RECALLS = (0.0, 0.25, 0.5, 0.75, 0.9, 0.999, 1.0)
_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

#: Of `Engine.metrics`: what only grows, and what is so now.
_COUNTS = {
    "accepted": "Requests that were accepted.",
    "finished": "Requests that ended with a result.",
    "failed": "Requests that ended with an error.",
    "cancelled": "Requests that were cancelled.",
    "refused": "Requests that found the queue full.",
    "batches": "Backbone batches.",
    "rows": "Rows of backbone batches.",
    "padding": "Rows computed only to fill up a plan's batch.",
    "rows_saved": "Rows of maps that were dropped or never begun.",
    "candidates_failed": "Maps that were not finite.",
    "retries": "Batches that were run again.",
    "queue_seconds": "Seconds that requests waited before work on them began.",
}
_NOW = {
    "queued": "Requests that wait.",
    "active": "Requests that are at work.",
    "waiting_rows": "Backbone rows that could be in a batch now, were there room for all.",
}
#: Rows of a batch.
_ROWS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)


class Metrics:
    """Counters of one service, in a registry of its own."""

    def __init__(self, models: Models) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Engines(models))
        ProcessCollector(registry=self._registry)  # memory, processor time, open files
        self._answers = Counter(
            "fgdm_requests",
            "Requests for pictures by how they ended.",
            ("model", "kind", "outcome"),
            registry=self._registry,
        )
        self._pictures = Counter(
            "fgdm_pictures", "Pictures painted.", ("model",), registry=self._registry
        )
        self._attempts = Counter(
            "fgdm_attempts",
            "Pictures that were scored, by whether they passed.",
            ("model", "passed"),
            registry=self._registry,
        )
        self._recall = Histogram(
            "fgdm_recall",
            "Recall of the chosen map.",
            ("model",),
            buckets=_RECALLS,
            registry=self._registry,
        )
        self._seconds = Histogram(
            "fgdm_picture_seconds",
            "Seconds from submission to the picture.",
            ("model",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._queued = Histogram(
            "fgdm_queue_seconds",
            "Seconds that a picture's request waited before work on it began.",
            ("model",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._stages = Histogram(
            "fgdm_stage_seconds",
            "Seconds of a picture by stage: its share of the batches that it was in.",
            ("model", "stage"),
            buckets=_SECONDS,
            registry=self._registry,
        )

    def answered(self, task: Task, outcome: str) -> None:
        """Of a request that an engine took. outcome: "done", or the code of an error."""
        self._answers.labels(task.model.name, task.kind, outcome).inc()

    def refused(self, model: str, kind: str, outcome: str) -> None:
        """Of one that none took. model: "" where it isn't known; kind: as a Task's."""
        self._answers.labels(model, kind, outcome).inc()

    def painted(self, task: Task, result: Result) -> None:
        name = task.model.name
        self._pictures.labels(name).inc()
        for attempt in result.repaint.attempts if result.repaint else ():
            self._attempts.labels(name, str(attempt.passed).lower()).inc()
        self._recall.labels(name).observe(result.recall)
        timings = dict(result.timings)
        queued = timings.pop("queue", 0.0)
        self._queued.labels(name).observe(queued)
        self._seconds.labels(name).observe(queued + timings.pop("total", 0.0))
        for stage, seconds in timings.items():
            self._stages.labels(name, stage).observe(seconds)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)


class _Engines(Collector):
    """`Engine.metrics` of every model, as they are when somebody asks."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def collect(self) -> Iterable[Metric]:
        now: list[tuple[str, dict[str, Any]]] = [
            (model.name, model.engine.metrics()) for model in self._models
        ]
        for name, words in _COUNTS.items():
            counter = CounterMetricFamily(f"fgdm_engine_{name}", words, labels=["model"])
            for model, numbers in now:
                counter.add_metric([model], numbers[name])
            yield counter
        for name, words in _NOW.items():
            gauge = GaugeMetricFamily(f"fgdm_engine_{name}", words, labels=["model"])
            for model, numbers in now:
                gauge.add_metric([model], numbers[name])
            yield gauge
        stages = CounterMetricFamily(
            "fgdm_engine_stage_seconds",
            "Seconds in each stage's graphs.",
            labels=["model", "stage"],
        )
        for model, numbers in now:
            for stage, seconds in numbers["session_seconds"].items():
                stages.add_metric([model, stage], seconds)
        yield stages
        sizes = HistogramMetricFamily(
            "fgdm_engine_batch_rows", "Rows of a backbone batch.", labels=["model"]
        )
        for model, numbers in now:
            sizes.add_metric([model], *_cumulative(numbers["batches_of_rows"]))
        yield sizes


def _cumulative(counts: Mapping[int, int]) -> tuple[list[tuple[str, float]], float]:
    """How many of so many rows and fewer, as Prometheus wants it; the sum of all rows."""
    buckets = [
        (str(most), float(sum(count for rows, count in counts.items() if rows <= most)))
        for most in (*_ROWS, math.inf)
    ]
    buckets[-1] = ("+Inf", buckets[-1][1])
    return buckets, float(sum(rows * count for rows, count in counts.items()))
