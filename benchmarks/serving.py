"""What HTTP costs: `fgdm serve` beside the engine, called directly, in a process of its own.

python -m benchmarks.serving bundles/scenes --threads 1 --output out/serving.json

Both get the same prompts and seeds from as many clients, one after the other, so that a slow moment
meets both; and in several pairs of new processes, because a process is up to 8 % faster or slower
than the next one of the same program, for as long as it lives. A client asks again as soon as it is
answered. Latency is what a client waits; *beside* is that part of it which the engine itself
doesn't report as the request's (``timings``), request by request: HTTP, JSON, PNG and what stands
in line for them; of the engine's side, the call. *Added* is the service's less the engine's
at the same percentile. Encoding is the PNG and base64 of one picture, which the engine's side
doesn't do.
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import queue
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from fgdm import Engine

from benchmarks.command import add_prompts, chosen_prompts, engine_options, make_parser
from benchmarks.machine import write_results
from benchmarks.served import Service, service, usage_of

#: A request: prompt and seed.
Request = tuple[str, int]
#: Of requests, the seconds of each that a client waits, and that the engine reports; then of all.
Taken = tuple[list[tuple[float, float]], float]


def reported(timings: Mapping[str, float]) -> float:
    """The seconds that the engine had a request, waiting and at work."""
    return timings["queue"] + timings["total"]


def latencies(ask: Callable[[Request], float], requests: list[Request], clients: int) -> Taken:
    """ask: returns the seconds that the engine reports of the request."""

    def one(request: Request) -> tuple[float, float]:
        began = time.perf_counter()
        known = ask(request)
        return time.perf_counter() - began, known

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        taken = list(pool.map(one, requests))
    return taken, time.perf_counter() - began


def _direct(pipe: Connection, bundle: str, engine: dict[str, Any], body: dict[str, Any]) -> None:
    """The engine's side: runs in a process of its own, and answers with `latencies`."""
    began = time.perf_counter()
    with Engine(bundle, **engine) as opened:
        pipe.send(time.perf_counter() - began)
        while (asked := pipe.recv()) is not None:
            requests, clients = asked
            pipe.send(
                latencies(
                    lambda request: reported(
                        opened.generate(request[0], seed=request[1], **body).timings
                    ),
                    requests,
                    clients,
                )
            )


class Direct:
    """The engine in a process of its own. start_seconds: until it was open."""

    def __init__(self, bundle: Path, engine: dict[str, Any], body: dict[str, Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        began = time.perf_counter()
        self._process = context.Process(target=_direct, args=(theirs, str(bundle), engine, body))
        self._process.start()
        self._pipe.recv()
        self.start_seconds = time.perf_counter() - began

    @property
    def process(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def run(self, requests: list[Request], clients: int) -> Taken:
        self._pipe.send((requests, clients))
        answer: Taken = self._pipe.recv()
        return answer

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join()


def over_http(
    running: Service, body: dict[str, Any], requests: list[Request], clients: int
) -> Taken:
    """The same from clients of the service, each with a connection that it has and keeps: making an
    httpx.Client takes 30 ms, which are the client's own."""
    free: queue.SimpleQueue[httpx.Client] = queue.SimpleQueue()

    def ask(request: Request) -> float:
        client = free.get()
        answer = client.post(
            "/v1/images/generations", json={"prompt": request[0], "seed": request[1], **body}
        )
        free.put(client)
        answer.raise_for_status()
        return reported(answer.json()["data"][0]["fgdm"]["timings"])

    with contextlib.ExitStack() as stack:
        for _ in range(clients):
            client = stack.enter_context(httpx.Client(base_url=running.address, timeout=600))
            client.get("/health").raise_for_status()
            free.put(client)
        return latencies(ask, requests, clients)


def encoding_seconds(bundle: Path, engine: dict[str, Any], body: dict[str, Any]) -> float:
    """Median seconds to make PNG and base64 of a picture."""
    from fgdm.serve.pictures import encode, in_base64  # noqa: PLC0415 (needs an extra)

    with Engine(bundle, **engine) as opened:
        image = opened.generate("a house", seed=1, **body).image
    taken = []
    for _ in range(20):
        began = time.perf_counter()
        io.BytesIO(json.dumps({"b64_json": in_base64(encode(image, "png", 100))}).encode())
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


class Comparison:
    """Of so many clients: both sides' work, gathered from pairs of processes."""

    def __init__(self, clients: int) -> None:
        self.clients = clients
        self._waits: dict[str, list[tuple[float, float]]] = {"http": [], "direct": []}
        self._walls: dict[str, list[float]] = {"http": [], "direct": []}
        self._work = {"http": 0.0, "direct": 0.0}

    def run(
        self, running: Service, direct: Direct, body: dict[str, Any], requests: list[Request]
    ) -> None:
        """The requests on both sides of a pair, in the other order than in the pair before."""
        sides: dict[str, tuple[int, Callable[[], Taken]]] = {
            "http": (running.process, lambda: over_http(running, body, requests, self.clients)),
            "direct": (direct.process, lambda: direct.run(requests, self.clients)),
        }
        for name in sorted(sides, reverse=bool(len(self._walls["http"]) % 2)):
            process, ask = sides[name]
            before = usage_of(process).processor
            taken, wall = ask()
            self._work[name] += usage_of(process).processor - before
            self._waits[name] += taken
            self._walls[name].append(wall)

    def figures(self) -> dict[str, Any]:
        """Seconds, and the direct engine's of everything beside the service's. The ratio of
        throughputs is of all pairs together, and ``throughput_ratios`` of each."""
        count = len(self._waits["http"])
        percentiles, beside = {}, {}
        for name, pairs in self._waits.items():
            waited, reported = np.array(pairs).T
            percentiles[name] = np.percentile(waited, [50, 99])
            beside[name] = np.percentile(waited - reported, [50, 99])
        walls = {name: sum(seconds) for name, seconds in self._walls.items()}
        return {
            "pictures_per_second": count / walls["http"],
            "throughput_ratio": walls["direct"] / walls["http"],
            "throughput_ratios": [
                d / h for d, h in zip(self._walls["direct"], self._walls["http"], strict=True)
            ],
            "processor_ratio": self._work["direct"] / self._work["http"],
            "p50": float(percentiles["http"][0]),
            "p99": float(percentiles["http"][1]),
            "beside_p50": float(beside["http"][0]),
            "beside_p99": float(beside["http"][1]),
            "added_p50": float(beside["http"][0] - beside["direct"][0]),
            "added_p99": float(beside["http"][1] - beside["direct"][1]),
            "added_processor": (self._work["http"] - self._work["direct"]) / count,
        }


@dataclass(frozen=True)
class Pair:
    """A service beside an engine: seconds until each was ready, and bytes that it holds more."""

    service_seconds: float
    engine_seconds: float
    more_memory: int


def run_pair(
    bundle: Path,
    engine: dict[str, Any],
    body: dict[str, Any],
    requests: list[Request],
    comparisons: list[Comparison],
) -> Pair:
    """A new process of each side answers the requests from each number of clients."""
    direct = Direct(bundle, engine, body)
    try:
        with service(bundle, "--threads", str(engine["threads"])) as running:
            for clients in (1, max(one.clients for one in comparisons)):  # warm-up
                few = requests[: max(2, clients)]
                direct.run(few, clients)
                over_http(running, body, few, clients)
            for comparison in comparisons:
                comparison.run(running, direct, body, requests)
            memory = running.usage.memory - usage_of(direct.process).memory
            return Pair(running.start_seconds, direct.start_seconds, memory)
    finally:
        direct.close()


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    add_prompts(parser)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--pairs", type=int, default=6, help="of processes")
    parser.add_argument("--requests", type=int, default=16, help="of a pair")
    parser.add_argument("--candidates", type=int, default=4)
    given = parser.parse_args(arguments)
    body: dict[str, Any] = {"candidates": given.candidates, "stop_at_recall": 0.0}
    prompts = [one.prompt for one in chosen_prompts(given)]
    engine = engine_options(given)
    requests = [(prompts[i % len(prompts)], i) for i in range(given.requests)]
    comparisons = [Comparison(clients) for clients in given.clients]
    pairs = []
    for number in range(given.pairs):
        pairs.append(run_pair(given.bundle, engine, body, requests, comparisons))
        print(f"pair {number + 1} of {given.pairs}", file=sys.stderr, flush=True)
    start = statistics.median(pair.service_seconds for pair in pairs)
    engine_start = statistics.median(pair.engine_seconds for pair in pairs)
    memory = statistics.median(pair.more_memory for pair in pairs)
    by_clients = {one.clients: one.figures() for one in comparisons}
    results = {
        "body": body,
        "threads": given.threads,
        "cores": os.cpu_count(),
        "requests": given.requests,
        "pairs": given.pairs,
        "clients": by_clients,
        "encoding_seconds": encoding_seconds(given.bundle, engine, body),
        "start_seconds": start,
        "engine_start_seconds": engine_start,
        "more_start_seconds": start - engine_start,
        "more_memory": memory,
    }
    heads = (
        *("pictures/s", "of direct", "p50 ms", "p99 ms"),
        *("beside p50", "p99", "added p50", "p99", "processor ms added"),
    )
    print(f"{'clients':<8}" + "".join(f"{head:>{len(head) + 2}}" for head in heads))
    for clients, figures in by_clients.items():
        print(
            f"{clients:<8}{figures['pictures_per_second']:12.2f}{figures['throughput_ratio']:11.3f}"
            f"{1000 * figures['p50']:8.0f}{1000 * figures['p99']:8.0f}"
            f"{1000 * figures['beside_p50']:12.1f}{1000 * figures['beside_p99']:5.1f}"
            f"{1000 * figures['added_p50']:11.1f}{1000 * figures['added_p99']:5.1f}"
            f"{1000 * figures['added_processor']:20.1f}"
        )
    print(
        f"encoding {1000 * results['encoding_seconds']:.1f} ms; ready {start:.2f} s after the "
        f"start, {results['more_start_seconds']:+.2f} s beside the engine alone; "
        f"{memory / 1e6:+.0f} MB of memory"
    )
    write_results(given.output, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
