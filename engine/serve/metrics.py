"""What Prometheus reads: requests by outcome, recall, and what the engines have done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fgdm.result import Result
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
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
_NOW = {"queued": "Requests that wait.", "active": "Requests that are at work."}


class Metrics:
    """Counters of one service, in a registry of its own."""

    def __init__(self, models: Models) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Engines(models))
        self._answers = Counter(
            "fgdm_requests",
            "Requests for pictures by how they ended.",
            ("model", "kind", "outcome"),
            registry=self._registry,
        )
        self._pictures = Counter(
            "fgdm_pictures", "Pictures painted.", ("model",), registry=self._registry
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

    def answered(self, task: Task, outcome: str) -> None:
        """outcome: "done", or the code of an error."""
        self._answers.labels(task.model.name, task.kind, outcome).inc()

    def painted(self, task: Task, result: Result) -> None:
        name = task.model.name
        self._pictures.labels(name).inc()
        self._recall.labels(name).observe(result.recall)
        self._seconds.labels(name).observe(result.timings.get("total", 0.0))

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
