"""How many replicas there should be: by the backbone rows of requests that aren't finished."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from fgdm.engine import Engine
from fgdm.job import Job, MapCallback, StepCallback

#: The core's own default.
_CANDIDATES = 10


def rows_of(manifest: Mapping[str, Any], options: Mapping[str, Any]) -> int:
    """Backbone rows of a request at most: pruning, waves and intervals of guidance save some.

    options: of `Engine.submit`.
    """

    def chosen(place: Mapping[str, Any], name: str, otherwise: int) -> int:
        value = place.get(name)
        return value if isinstance(value, int) else otherwise

    *conditions, image = manifest["factors"]
    given = options.get("factors")
    groups: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    rows = 2 * chosen(options, "num_inference_steps", image["num_inference_steps"])
    for factor in conditions:
        name = factor["name"]
        left_out = groups[name] is None if name in groups else factor.get("optional", False)
        own: Mapping[str, Any] = groups.get(name) or {}
        if left_out or (own.get("map") is not None and own.get("strength") is None):
            continue
        steps = chosen(options, "condition_steps", factor["num_inference_steps"])
        most = chosen(options, "candidates", _CANDIDATES) if factor["output"] == "labels" else 1
        rows += 2 * chosen(own, "candidates", most) * chosen(own, "condition_steps", steps)
    return rows


class CountedEngine(Engine):
    """An engine that knows the rows of its unfinished requests."""

    def __init__(self, bundle: str, **options: Any) -> None:
        self._lock = threading.Lock()
        self._rows = 0
        super().__init__(bundle, **options)

    @property
    def unfinished_rows(self) -> int:
        return self._rows

    def submit(
        self,
        prompt: str,
        *,
        step_callback: StepCallback | None = None,
        map_callback: MapCallback | None = None,
        **options: Any,
    ) -> Job:
        """As `Engine.submit`."""
        job = super().submit(
            prompt, step_callback=step_callback, map_callback=map_callback, **options
        )
        rows = rows_of(self.manifest, options)
        self._add(rows)
        job.when_done(lambda: self._add(-rows))
        return job

    def _add(self, rows: int) -> None:
        with self._lock:
            self._rows += rows


class QueuedRows:
    """A policy of Ray Serve: as many replicas as it takes for the rows that wait or are at work.

    Requests that still wait at a proxy count as many rows as those in the engines do on average.
    Ray keeps to the least and the most, and to the delays.
    """

    def __init__(self, rows_per_replica: float) -> None:
        self._rows_per_replica = rows_per_replica

    def __call__(self, context: Any) -> tuple[float, dict[str, Any]]:
        """context: an AutoscalingContext, whose metrics are `Replica.record_autoscaling_stats`."""
        metrics = context.aggregated_metrics or {}
        rows = sum(metrics.get("rows", {}).values())
        requests = sum(metrics.get("requests", {}).values())
        waiting = context.total_queued_requests or 0.0
        if not requests and waiting:
            # Of what they ask for nothing is known yet; a replica that has work stays.
            return context.target_num_replicas, {}
        if waiting:
            rows += waiting * rows / requests
        return rows / self._rows_per_replica, {}
