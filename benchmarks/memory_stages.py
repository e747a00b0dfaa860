"""One request in this process, and its memory's peak in each stage: what benchmarks.memory runs.

python -m benchmarks.memory_stages BUNDLE '{"memory": "low"}' '{"prompt": "a dog"}' PICTURE.npy

Prints JSON. Nothing but the engine is loaded here.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fgdm import Engine

from benchmarks.process_memory import Sample, memory_mb, sampled

STAGES = ("text", "maps", "decode maps", "picture", "decode picture")


class Span(NamedTuple):
    """A graph's call, in seconds of the engine's timeline."""

    graph: str
    begin: float
    end: float


def read_timeline(text: str) -> tuple[list[Span], float]:
    """The calls of graphs in an engine's trace, and when its last request ended."""
    events = json.loads(text)
    spans = [
        Span(event["name"], event["ts"] / 1e6, (event["ts"] + event["dur"]) / 1e6)
        for event in events
        if event["ph"] == "X" and event["tid"] == "sessions"
    ]
    ends = [event["ts"] / 1e6 for event in events if event["ph"] == "e"]
    return sorted(spans, key=lambda span: span.begin), max(ends)


def stages_of(spans: Sequence[Span], text_encoder: str, decoders: set[str]) -> list[str]:
    """The stage of each call of a chain that decodes maps and then a picture: what comes before the
    last decoded map belongs to the maps."""
    decodes = [i for i, span in enumerate(spans) if span.graph in decoders]
    maps_end = decodes[-2] if len(decodes) > 1 else -1
    stages = []
    for i, span in enumerate(spans):
        of_maps = i <= maps_end
        if span.graph == text_encoder:
            stages.append("text")
        elif i in decodes:
            stages.append("decode maps" if of_maps else "decode picture")
        else:
            stages.append("maps" if of_maps else "picture")
    return stages


def peak_of(samples: Iterable[Sample]) -> dict[str, float]:
    """The largest sample."""
    largest = max(samples, key=lambda sample: sample.peak)
    return {
        "peak_mb": largest.peak,
        "anonymous_mb": largest.anonymous,
        "mapped_mb": largest.mapped,
    }


def peaks(
    samples: Sequence[Sample], spans: Sequence[Span], stages: Sequence[str], later: float
) -> dict[str, dict[str, float]]:
    """Of each stage, its seconds and the largest of the samples that lie in its calls. `later`: how
    many seconds the samples' clock is ahead of the spans'."""
    found: dict[str, dict[str, float]] = {}
    for stage in STAGES:
        calls = [span for span, of in zip(spans, stages, strict=True) if of == stage]
        inside = [
            sample
            for sample in samples
            if any(c.begin <= sample.begin - later and sample.end - later <= c.end for c in calls)
        ]
        if inside:
            seconds = sum(call.end - call.begin for call in calls)
            found[stage] = {**peak_of(inside), "seconds": seconds}
    return found


def measure(
    bundle: Path, engine: Mapping[str, Any], request: Mapping[str, Any], picture: Path
) -> dict[str, Any]:
    """Opens the bundle, makes one picture and saves it as an array."""
    before = memory_mb()
    with tempfile.TemporaryDirectory() as scratch:
        trace = Path(scratch) / "trace.json"
        began = time.monotonic()
        with sampled() as opening:
            loaded = Engine(bundle, trace=trace, **engine)
        opened = time.monotonic()
        with loaded, sampled() as running:
            spent = time.process_time()
            result = loaded.generate(**request)
            ended, spent = time.monotonic(), time.process_time() - spent
            manifest, info = loaded.manifest, loaded.info
        spans, request_ended = read_timeline(trace.read_text())
    np.save(picture, np.asarray(result.image))
    autoencoder = manifest["autoencoder"]
    decoders = {autoencoder["decoder"], autoencoder.get("preview_decoder")}
    stages = stages_of(spans, manifest["text_encoder"]["graph"], decoders)
    by_stage = peaks(running, spans, stages, ended - request_ended)
    return {
        "runtime": f"{info.runtime} {info.backend} {info.precision}",
        "before_mb": before,
        "stages": {"open": {**peak_of(opening), "seconds": opened - began}, **by_stage},
        "peak_mb": max(sample.peak for sample in [*opening, *running]),
        "request_peak_mb": max(sample.peak for sample in running),
        "seconds": result.timings["total"],
        "processor_seconds": spent,
    }


def main() -> int:
    bundle, engine, request, picture = sys.argv[1:]
    print(json.dumps(measure(Path(bundle), json.loads(engine), json.loads(request), Path(picture))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
