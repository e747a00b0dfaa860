"""How even a data set is: of every class how often it was asked for, is there, and how large."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from fgdm.files import write_all

from .store import read_head, read_rejected, read_samples

Json = dict[str, Any]

#: Version of balance.json.
SCHEMA = 1


def measure_balance(folder: Path) -> Json:
    """Counts over all samples of a data set, one record in memory at a time.

    classes: by name, in the palette's order, of the last factor that makes labels. requested:
    samples that ask for it; found: those of them whose map holds it. present: samples with at least
    a pixel of it. instances: of things, as compliance counts them. area: its share of all pixels.
    evenness: of the things that were requested, the entropy of how often each is found, over that
    of all being found equally often (Pielou, 1966): 1 is even, None for fewer than two.
    """
    factors = read_head(folder)["factors"]
    requested: Counter[str] = Counter()
    found: Counter[str] = Counter()
    present: Counter[str] = Counter()
    instances: Counter[str] = Counter()
    areas: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    kept = retried = complied = 0
    recall = compliance = 0.0
    judged = ""
    for _, record in read_samples(folder):
        kept += 1
        recall += record["recall"]
        compliance += record["compliance"]
        complied += record["compliance"] == 1
        retried += bool(record["rejected"])
        reasons.update(reason for one in record["rejected"] for reason in one["reasons"])
        requested.update(record["requested"])
        found.update(record["found"])
        labelled = [name for name, one in record["factors"].items() if "areas" in one]
        if labelled:
            judged = labelled[-1]
            factor = record["factors"][judged]
            present.update(factor["areas"].keys())
            instances.update(factor["instances"])
            areas.update(factor["areas"])
    rejected = 0
    for record in read_rejected(folder):
        rejected += 1
        reasons.update(reason for one in record["rejected"] for reason in one["reasons"])
    classes = factors[judged]["palette"]["classes"] if judged else []
    things = [entry["name"] for entry in classes if entry.get("kind", "thing") == "thing"]
    return {
        "schema": SCHEMA,
        "samples": kept,
        "rejected": rejected,
        "retried": retried,
        "reasons": dict(sorted(reasons.items())),
        "recall": _mean(recall, kept),
        "compliance": _mean(compliance, kept),
        "complied": _mean(complied, kept),
        "evenness": _evenness([found[name] for name in things if requested[name]]),
        "classes": {
            entry["name"]: {
                "kind": entry.get("kind", "thing"),
                "requested": requested[entry["name"]],
                "found": found[entry["name"]],
                "present": present[entry["name"]],
                "instances": instances[entry["name"]],
                "area": _mean(areas[entry["name"]], kept),
            }
            for entry in classes
        },
    }


def write_balance(folder: Path) -> list[Path]:
    """Writes balance.json and balance.md into a data set's folder; their paths."""
    measured = measure_balance(folder)
    return write_all(
        {
            folder / "balance.json": (json.dumps(measured, indent=1) + "\n").encode("ascii"),
            folder / "balance.md": _markdown(measured).encode("utf-8"),
        }
    )


def _markdown(measured: Json) -> str:
    reasons = ", ".join(f"{name} {number}" for name, number in measured["reasons"].items())
    evenness = measured["evenness"]
    lines = [
        "| | |",
        "|---|---|",
        f"| samples | {measured['samples']} |",
        f"| numbers without one, as no attempt was good enough | {measured['rejected']} |",
        f"| samples that took more than one attempt | {measured['retried']} |",
        f"| attempts that fell short, by reason | {reasons or 'none'} |",
        f"| recall, mean | {_shown(measured['recall'])} |",
        f"| compliance, mean | {_shown(measured['compliance'])} |",
        f"| all requirements met | {_shown(measured['complied'])} |",
        f"| evenness of the things found (1: equally often) | {_shown(evenness)} |",
        "",
        "| class | requested | found | present | instances | share of pixels |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in measured["classes"].items():
        counted = one["instances"] if one["kind"] == "thing" else ""
        lines.append(
            f"| {name} | {one['requested']} | {one['found']} | {one['present']} | {counted} "
            f"| {_shown(one['area'])} |"
        )
    return "\n".join(lines) + "\n"


def _mean(total: float, count: int) -> float | None:
    return round(total / count, 6) if count else None


def _evenness(counts: list[int]) -> float | None:
    if len(counts) < 2 or not any(counts):
        return None
    shares = [count / sum(counts) for count in counts if count]
    entropy = -sum(share * math.log(share) for share in shares)
    return round(entropy / math.log(len(counts)), 6) + 0.0


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
