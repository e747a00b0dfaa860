"""By what replicas come and go: rows, counted and weighed."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from fgdm.serve.cluster.scaling import CountedEngine, QueuedRows, rows_of
from PIL import Image

from tests.cluster.conftest import QUICK
from tests.serve.conftest import until_idle

#: With these nothing is saved, so a request takes all its rows.
ALL = {**QUICK, "cache_interval": 1}


@pytest.fixture(autouse=True)
def _idle_before(engine: CountedEngine) -> None:
    """Rows of an earlier test's jobs, some of which it cancelled, aren't counted here."""
    until_idle(engine)


def check_none_is_left(engine: CountedEngine) -> None:
    """The engine tells it a moment after it wakes whoever waits for the job."""
    until = time.monotonic() + 10
    while engine.unfinished_rows and time.monotonic() < until:
        time.sleep(0.001)
    assert engine.unfinished_rows == 0


@pytest.mark.parametrize(
    "options",
    [
        ALL,
        {**ALL, "candidates": 3},
        {**ALL, "factors": {"segmentation": {"candidates": 1, "condition_steps": 3}}},
        {**ALL, "factors": {"segmentation": {"map": Image.new("RGB", (64, 64))}}},
        {**ALL, "factors": {"segmentation": None}},
        {"num_inference_steps": 2, "candidates": 1, "stop_at_recall": 0},
    ],
)
def test_rows_are_those_that_the_engine_computes(
    engine: CountedEngine, options: dict[str, Any]
) -> None:
    before = engine.metrics()["rows"]
    job = engine.submit("two dogs beside a house", seed=1, **options)
    counted = engine.unfinished_rows
    job.result()
    assert counted == rows_of(engine.manifest, options) == engine.metrics()["rows"] - before
    check_none_is_left(engine)


def test_optional_factors_have_rows_of_their_own_guidance(engine: CountedEngine) -> None:
    """Depth of this bundle is sampled without guidance, so it takes half of what is counted."""
    with_depth = {**ALL, "factors": {"depth": {}}}
    before = engine.metrics()["rows"]
    engine.submit("two dogs", seed=1, **with_depth).result()
    check_none_is_left(engine)
    taken = engine.metrics()["rows"] - before
    assert taken < rows_of(engine.manifest, with_depth) == taken + ALL["condition_steps"]


def test_rows_go_with_every_request(engine: CountedEngine) -> None:
    jobs = [engine.submit("a house", seed=seed, **ALL) for seed in range(3)]
    assert engine.unfinished_rows > 0
    jobs[-1].cancel()
    for job in jobs:
        job.wait()
    check_none_is_left(engine)


def context(**metrics: Any) -> Any:
    """What Ray Serve shows a policy."""
    waiting = metrics.pop("waiting", 0.0)
    return SimpleNamespace(
        aggregated_metrics=metrics, total_queued_requests=waiting, target_num_replicas=2
    )


def test_the_policy_counts_rows_and_what_waits_at_proxies() -> None:
    policy = QueuedRows(rows_per_replica=100)
    busy = {"rows": {"a": 120.0, "b": 180.0}, "requests": {"a": 2.0, "b": 4.0}}
    assert policy(context(**busy)) == (3.0, {})
    assert policy(context(**busy, waiting=6.0)) == (6.0, {})  # each 50 rows, as those inside
    idle = {"rows": {"a": 0.0}, "requests": {"a": 0.0}}
    assert policy(context(**idle)) == (0.0, {})
    assert policy(context(**idle, waiting=1.0)) == (2, {})
    assert policy(context()) == (0.0, {})
