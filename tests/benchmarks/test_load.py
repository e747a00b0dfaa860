"""Loads are what they claim: Poisson arrivals that wait for nobody, and clients that do."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from benchmarks.load import Response, closed_loop, open_loop, poisson_arrivals, throughput


def test_gaps_of_poisson_arrivals_are_exponential() -> None:
    """Mean and standard deviation of the gaps are 1 / rate, and a share of 1/e is longer."""
    arrivals = poisson_arrivals(rate=4.0, count=20_000, seed=0)
    gaps = np.diff(arrivals)
    assert arrivals[0] == 0
    assert (gaps >= 0).all()
    assert gaps.mean() == pytest.approx(0.25, rel=0.03)
    assert gaps.std() == pytest.approx(0.25, rel=0.03)
    assert (gaps > 0.25).mean() == pytest.approx(np.exp(-1), abs=0.01)


def test_arrivals_depend_on_nothing_but_the_seed() -> None:
    assert poisson_arrivals(1.0, 5, seed=3) == poisson_arrivals(1.0, 5, seed=3)
    assert poisson_arrivals(1.0, 5, seed=3) != poisson_arrivals(1.0, 5, seed=4)
    assert poisson_arrivals(1.0, 0, seed=3) == []
    with pytest.raises(ValueError, match="rate"):
        poisson_arrivals(0.0, 5, seed=0)


class _Server:
    """Answers one request at a time, and knows how many wait at once."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.served: list[int] = []
        self.waiting = self.most = 0
        self._turn, self._count = threading.Lock(), threading.Lock()

    def __call__(self, number: int) -> None:
        with self._count:
            self.waiting += 1
            self.most = max(self.most, self.waiting)
        with self._turn:
            time.sleep(self.seconds)
        with self._count:
            self.waiting -= 1
            self.served.append(number)


def test_a_closed_loop_has_as_many_requests_in_flight_as_clients() -> None:
    server = _Server(0.005)
    responses = closed_loop(server, clients=3, count=12)
    assert sorted(server.served) == list(range(12))
    assert server.most == 3
    assert len(responses) == 12
    assert all(response.seconds >= 0.005 for response in responses)


def test_an_open_loop_counts_the_wait_from_the_scheduled_arrival() -> None:
    """Four at once on a server that takes 20 ms each: the last has waited for all."""
    server = _Server(0.02)
    responses = open_loop(server, [0.0, 0.0, 0.0, 0.0])
    assert max(response.seconds for response in responses) >= 0.08
    assert [response.arrived for response in responses] == [0.0] * 4


def test_an_error_of_the_server_reaches_the_caller() -> None:
    def fail(number: int) -> None:
        raise RuntimeError(f"request {number}")

    with pytest.raises(RuntimeError, match="request"):
        closed_loop(fail, 2, 2)
    with pytest.raises(RuntimeError, match="request 0"):
        open_loop(fail, [0.0])


def test_throughput_is_answers_over_the_time_of_all() -> None:
    assert throughput([Response(1.0, 2.0), Response(1.5, 5.0)]) == pytest.approx(0.5)
