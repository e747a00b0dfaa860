"""What HTTP costs: `fgdm serve` beside the engine, called directly, in a process of its own.

python -m benchmarks.serving bundles/scenes --threads 1 --output out/serving.json

Both get the same prompts and seeds from as many clients, one after the other, round by round, so
that a slow moment meets both. A client asks again as soon as it is answered. Latency is what a
client waits; *beside* is that part of it which the engine itself doesn't report as the request's
total (``timings``), request by request: HTTP, JSON, PNG and what stands in line for them; of the
engine's side, the call. *Added* is the service's less the engine's at the same percentile. Encoding
is the PNG and base64 of one picture, which the engine's side doesn't do.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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


def latencies(ask: Callable[[Request], float], requests: list[Request], clients: int) -> Taken:
    """ask: returns the seconds that the engine reports of the request."""

    def one(request: Request) -> tuple[float, float]:
        began = time.perf_counter()
        reported = ask(request)
        return time.perf_counter() - began, reported

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
                    lambda request: opened.generate(request[0], seed=request[1], **body).timings[
                        "total"
                    ],
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
        self.load_seconds = float(self._pipe.recv())
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
    """The same from clients of the service, each with a connection that it keeps."""
    local = threading.local()

    def ask(request: Request) -> float:
        if not hasattr(local, "client"):
            local.client = httpx.Client(base_url=running.address, timeout=600)
        answer = local.client.post(
            "/v1/images/generations", json={"prompt": request[0], "seed": request[1], **body}
        )
        answer.raise_for_status()
        return float(answer.json()["data"][0]["fgdm"]["timings"]["total"])

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


def compare(
    running: Service,
    direct: Direct,
    body: dict[str, Any],
    rounds: list[list[Request]],
    clients: int,
) -> dict[str, float]:
    """Figures for so many clients. The order changes from round to round."""
    waits: dict[str, list[tuple[float, float]]] = {"http": [], "direct": []}
    walls: dict[str, list[float]] = {"http": [], "direct": []}
    work: dict[str, float] = {"http": 0.0, "direct": 0.0}
    sides: dict[str, tuple[int, Callable[[list[Request]], Taken]]] = {
        "http": (running.process, lambda requests: over_http(running, body, requests, clients)),
        "direct": (direct.process, lambda requests: direct.run(requests, clients)),
    }
    for number, requests in enumerate(rounds):
        for name in sorted(sides, reverse=bool(number % 2)):
            process, run = sides[name]
            before = usage_of(process).processor
            taken, wall = run(requests)
            work[name] += usage_of(process).processor - before
            waits[name] += taken
            walls[name].append(wall)
    ratios = [d / h for d, h in zip(walls["direct"], walls["http"], strict=True)]
    count = sum(len(requests) for requests in rounds)
    percentiles, beside = {}, {}
    for name, pairs in waits.items():
        waited, reported = np.array(pairs).T
        percentiles[name] = np.percentile(waited, [50, 99])
        beside[name] = np.percentile(waited - reported, [50, 99])
    return {
        "pictures_per_second": count / sum(walls["http"]),
        "throughput_ratio": statistics.median(ratios),
        "processor_ratio": work["direct"] / work["http"],
        "p50": float(percentiles["http"][0]),
        "p99": float(percentiles["http"][1]),
        "beside_p50": float(beside["http"][0]),
        "beside_p99": float(beside["http"][1]),
        "added_p50": float(beside["http"][0] - beside["direct"][0]),
        "added_p99": float(beside["http"][1] - beside["direct"][1]),
        "added_processor": (work["http"] - work["direct"]) / count,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    add_prompts(parser)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--requests", type=int, default=16, help="of one round")
    parser.add_argument("--candidates", type=int, default=4)
    given = parser.parse_args(arguments)
    body: dict[str, Any] = {"candidates": given.candidates, "stop_at_recall": 0.0}
    prompts = [one.prompt for one in chosen_prompts(given)]
    engine = engine_options(given)
    direct = Direct(given.bundle, engine, body)
    try:
        with service(given.bundle, "--threads", str(given.threads)) as running:
            requests = [(prompts[i % len(prompts)], i) for i in range(given.requests)]
            for clients in (1, max(given.clients)):  # warm-up, of both at their largest
                direct.run(requests, clients)
                over_http(running, body, requests, clients)
            by_clients = {
                clients: compare(running, direct, body, [requests] * given.rounds, clients)
                for clients in given.clients
            }
            memory = running.usage.memory - usage_of(direct.process).memory
            start = running.start_seconds
    finally:
        direct.close()
    results = {
        "body": body,
        "threads": given.threads,
        "cores": os.cpu_count(),
        "requests": given.requests,
        "rounds": given.rounds,
        "clients": by_clients,
        "encoding_seconds": encoding_seconds(given.bundle, engine, body),
        "start_seconds": start,
        "engine_start_seconds": direct.start_seconds,
        "more_start_seconds": start - direct.start_seconds,
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
