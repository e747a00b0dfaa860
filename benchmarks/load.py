"""Load on a server: a number of clients (closed loop), or arrivals that wait for nobody (open).

In a closed loop a slow server slows its clients down and so hides its queue. In an open loop
requests arrive on a schedule that is made beforehand, and a response time counts from the scheduled
arrival, whatever held the request up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

#: Serves the request of that number and returns when its answer is there.
Serve = Callable[[int], object]


@dataclass(frozen=True)
class Response:
    """When a request arrived and when it was answered, in seconds since the load began."""

    arrived: float
    finished: float

    @property
    def seconds(self) -> float:
        return self.finished - self.arrived


def poisson_arrivals(rate: float, count: int, seed: int) -> list[float]:
    """Times of `count` arrivals of a Poisson process of `rate` requests a second, from 0 on."""
    if rate <= 0:
        raise ValueError(f"the rate is {rate}; expected requests a second, above 0")
    gaps = np.random.default_rng(seed).exponential(1 / rate, count)
    return [float(at) for at in np.cumsum(gaps) - gaps[0]] if count else []


def closed_loop(serve: Serve, clients: int, count: int) -> list[Response]:
    """`count` requests by `clients` clients, each of which sends its next one once answered."""
    numbers, lock = iter(range(count)), threading.Lock()
    began = time.perf_counter()

    def client() -> list[Response]:
        answered: list[Response] = []
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return answered
            arrived = time.perf_counter() - began
            serve(number)
            answered.append(Response(arrived, time.perf_counter() - began))

    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(client) for _ in range(clients)]
        return [response for future in running for response in future.result()]


def open_loop(serve: Serve, arrivals: Sequence[float]) -> list[Response]:
    """One request at each of the arrival times, whether or not earlier ones are answered."""
    began = time.perf_counter()

    def request(number: int, arrived: float) -> Response:
        serve(number)
        return Response(arrived, time.perf_counter() - began)

    with ThreadPoolExecutor(max(1, len(arrivals))) as pool:
        running = []
        for number, arrived in enumerate(arrivals):
            time.sleep(max(0.0, began + arrived - time.perf_counter()))
            running.append(pool.submit(request, number, arrived))
        return [future.result() for future in running]


def throughput(responses: Sequence[Response]) -> float:
    """Answers a second, from the first arrival to the last answer."""
    first = min(response.arrived for response in responses)
    last = max(response.finished for response in responses)
    return len(responses) / (last - first)
