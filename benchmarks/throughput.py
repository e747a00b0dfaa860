"""Many requests at once: images a second, response times and memory, beside one at a time.

python -m benchmarks.throughput bundles/scenes --output out/throughput.json

Closed loop: 1, 2, 4, 8 and 16 clients. Open loop: Poisson arrivals at fractions of what one client
gets served, so that a load of 1 would keep a one-at-a-time server busy without a pause.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from fgdm import Engine
from fgdm.train.prompts import HeldOutPrompt

from benchmarks.command import add_prompts, chosen_prompts, engine_options, make_parser
from benchmarks.load import Response, Serve, closed_loop, open_loop, poisson_arrivals, throughput
from benchmarks.machine import write_results
from benchmarks.process_memory import peak_memory_mb, reset_peak_memory
from benchmarks.statistics import latencies

CLIENTS = (1, 2, 4, 8, 16)
LOADS = (0.5, 0.8, 1.0, 1.2)


def server(engine: Engine, prompts: list[HeldOutPrompt], options: dict[str, Any]) -> Serve:
    """Requests take the prompts in turn; each has its own seed."""

    def serve(number: int) -> object:
        prompt = prompts[number % len(prompts)]
        return engine.generate(prompt.prompt, objects=prompt.things, seed=number, **options)

    return serve


def describe(responses: list[Response]) -> dict[str, Any]:
    """Figures of one load; resets the peak of memory that the next one will see."""
    memory = peak_memory_mb()
    reset_peak_memory()
    return {
        "requests": len(responses),
        "images_per_second": throughput(responses),
        "seconds": latencies([response.seconds for response in responses]),
        "peak_memory_mb": memory,
    }


def measure(serve: Serve, clients: list[int], loads: list[float], requests: int) -> dict[str, Any]:
    """Both loops. Every closed level serves the same requests: `requests`, or two for each of the
    most clients, if that is more. Fewer clients go first, so that memory is what each level needs.
    """
    reset_peak_memory()
    closed: dict[str, Any] = {}
    same = max(requests, 2 * max(clients))
    for count in sorted(clients):
        closed[str(count)] = _told(f"{count} clients", describe(closed_loop(serve, count, same)))
    alone = closed["1"]["images_per_second"]
    opened: dict[str, Any] = {}
    for load in loads:
        arrivals = poisson_arrivals(load * alone, requests, seed=round(100 * load))
        opened[str(load)] = _told(f"load {load}", describe(open_loop(serve, arrivals)))
    return {"closed": closed, "open": opened}


def gains(closed: dict[str, Any]) -> dict[str, float]:
    """Images a second beside one client's, by number of clients."""
    alone = closed["1"]["images_per_second"]
    return {count: figures["images_per_second"] / alone for count, figures in closed.items()}


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    add_prompts(parser)
    parser.add_argument("--clients", type=int, nargs="+", default=list(CLIENTS))
    parser.add_argument("--loads", type=float, nargs="*", default=list(LOADS))
    parser.add_argument("--requests", type=int, default=100, help="of each level, at least")
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--condition-steps", type=int, default=10)
    parser.add_argument("--num-inference-steps", type=int, default=20)
    given = parser.parse_args(arguments)
    if 1 not in given.clients:
        parser.error("--clients must hold 1: everything is measured beside one at a time")
    options = {
        "candidates": given.candidates,
        "condition_steps": given.condition_steps,
        "num_inference_steps": given.num_inference_steps,
        "stop_at_recall": 0.0,  # as much work for every prompt
    }
    with Engine(given.bundle, **engine_options(given)) as engine:
        serve = server(engine, chosen_prompts(given), options)
        closed_loop(serve, 1, 2)  # warm-up
        loops = measure(serve, given.clients, given.loads, given.requests)
        info = engine.info
    results: dict[str, Any] = {
        "options": options,
        "threads": given.threads,
        "runtime": f"{info.runtime} {info.backend} {info.precision}",
        **loops,
        "gains": gains(loops["closed"]),
    }
    if info.backend not in ("cpu", "openvino") and "16" in results["gains"]:
        results["gpu_gain_at_16"] = results["gains"]["16"]
    print(results["runtime"])
    print(f"{'':<14}{'requests':>9}{'images/s':>10}{'p50':>8}{'p95':>8}{'p99':>8}{'memory':>10}")
    for loop, unit in (("closed", "clients"), ("open", "load")):
        for level, figures in results[loop].items():
            print(
                f"{loop:<7}{level:>4}{'' if unit == 'clients' else ' ×':<3}"
                f"{figures['requests']:9}{figures['images_per_second']:10.3f}"
                + "".join(f"{value:8.2f}" for value in figures["seconds"].values())
                + f"{figures['peak_memory_mb']:7.0f} MB"
            )
    write_results(given.output, results)
    return 0


def _told(title: str, figures: dict[str, Any]) -> dict[str, Any]:
    print(
        f"{time.strftime('%H:%M:%S')} {title}: {figures['images_per_second']:.3f} images/s",
        file=sys.stderr,
        flush=True,
    )
    return figures


if __name__ == "__main__":
    sys.exit(main())
