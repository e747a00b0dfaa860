"""Presence, counts, relations and all together: maps chosen by recall beside maps chosen by
compliance, and the pictures painted from them.

python -m benchmarks.requirements bundles/scenes --output benchmarks/results/requirements.json

For each prompt (benchmarks/requirement_prompts.py) ten maps are sampled to their end; of the first
N both rules choose one. Of every --paint-every-th prompt the two maps that are chosen of ten are
painted with the same noise, and a segmenter that steered nothing judges the pictures by the same
check. Every share is over prompts that require something of the kind.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fgdm
import numpy as np
import torch
from fgdm import Engine, MapCheck, Result, check_map
from fgdm.statistics import Indices, bootstrap, paired_difference
from fgdm.train.segmenter import Segmenter, load_segmenter, segment
from numpy.typing import NDArray

from benchmarks.command import add_segmenter, engine_options, make_parser
from benchmarks.machine import write_results
from benchmarks.requirement_prompts import GRADES, RequirementPrompt, requirement_prompts

SIZES = (1, 5, 10)
RULES = ("recall", "compliance")
KINDS = ("presence", "count", "relation", "joint")


@dataclass(frozen=True)
class Outcome:
    """One prompt: by number of maps and rule the check of the chosen map, by rule that of the
    picture (empty if none was painted), and the seconds of the request and of checking its maps."""

    maps: dict[tuple[int, str], MapCheck]
    pictures: dict[str, MapCheck]
    seconds: float
    check_seconds: float


class Judge:
    """Checks maps and pictures of one bundle."""

    def __init__(self, engine: Engine, bundle: Path, segmenter: Segmenter) -> None:
        (factor,) = [f for f in engine.manifest["factors"] if f.get("palette")]
        self.factor: str = factor["name"]
        self._palette = bundle / factor["palette"]
        self._min_area: float = factor.get("min_area", 0.002)
        self._segmenter = segmenter

    def check(self, labels: NDArray[np.uint8], prompt: RequirementPrompt) -> MapCheck:
        return check_map(labels, prompt.requirements, self._palette, min_area=self._min_area)

    def look(self, picture: Any, prompt: RequirementPrompt) -> MapCheck:
        (labels,) = segment(self._segmenter, np.asarray(picture)[None], torch.device("cpu"))
        return self.check(labels, prompt)


def choose(result: Result, checks: list[MapCheck], count: int, rule: str) -> int:
    """The engine's choice (cpp/src/maps/recall.cpp) among the first `count` maps."""

    def worth(index: int) -> tuple[float, ...]:
        candidate = result.candidates[index]
        compliance = checks[index].compliance if rule == "compliance" else 1.0
        return (candidate.recall, compliance, candidate.smallest_area, -index)

    return max(range(count), key=worth)


def measure(
    engine: Engine, judge: Judge, prompt: RequirementPrompt, seed: int, paint: bool
) -> Outcome:
    """The outcome of one prompt."""
    began = time.perf_counter()
    result = engine.generate(
        prompt.prompt,
        requirements=prompt.requirements,
        candidates=max(SIZES),
        select="compliance",
        stop_at_compliance=0.0,
        seed=seed,
        num_inference_steps=None if paint else 1,
    )
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    checks = [judge.check(candidate.labels, prompt) for candidate in result.candidates]
    check_seconds = time.perf_counter() - began
    chosen = {
        (count, rule): choose(result, checks, count, rule) for count in SIZES for rule in RULES
    }
    best = chosen[max(SIZES), "compliance"]
    if best != result.chosen:
        raise AssertionError(f"the engine chose map {result.chosen}, this benchmark {best}")
    pictures = {}
    if paint:
        pictures["compliance"] = judge.look(result.image, prompt)
        other = result.candidates[chosen[max(SIZES), "recall"]]
        pictures["recall"] = pictures["compliance"]
        if other.index != result.candidates[best].index:
            repainted = engine.generate(
                prompt.prompt, factors={judge.factor: {"map": other.map}}, seed=seed
            )
            pictures["recall"] = judge.look(repainted.image, prompt)
    maps = {key: checks[index] for key, index in chosen.items()}
    return Outcome(maps, pictures, seconds, check_seconds)


def values(prompts: list[RequirementPrompt], checks: list[MapCheck]) -> dict[str, list[float]]:
    """By kind one number for each prompt that requires something of it: presence is the share of
    classes, as the paper's recall; the others are 1 where all are met."""
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for prompt, check in zip(prompts, checks, strict=True):
        found["presence"].append(check.presence)
        found["joint"].append(float(check.joint))
        if any(one.kind == "count" for one in check.requirements):
            found["count"].append(float(check.counts == 1.0))
        if prompt.requirements["relations"]:
            found["relation"].append(float(check.relations == 1.0))
    return found


def mean_of(numbers: list[float]) -> dict[str, float]:
    """Their mean with its 95 % interval."""
    array = np.asarray(numbers)
    return bootstrap(lambda chosen: float(array[chosen].mean()), len(array)).to_json() | {
        "prompts": len(array)
    }


def compare(
    prompts: list[RequirementPrompt], by_rule: dict[str, list[MapCheck]]
) -> dict[str, dict[str, Any]]:
    """Both rules by kind, what compliance gains, and how many times as often all is met."""
    recall, compliance = (values(prompts, by_rule[rule]) for rule in RULES)
    table: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        if not recall[kind]:
            continue
        table[kind] = {
            "recall": mean_of(recall[kind]),
            "compliance": mean_of(compliance[kind]),
            "gain": paired_difference(compliance[kind], recall[kind]).to_json(),
        }
    above, below = np.asarray(compliance["joint"]), np.asarray(recall["joint"])

    def ratio(chosen: Indices) -> float:
        return float(above[chosen].sum() / max(below[chosen].sum(), 1.0))

    table["joint"]["times_as_often"] = bootstrap(ratio, len(above)).to_json()
    return table


def report(
    prompts: list[RequirementPrompt], outcomes: list[Outcome], truth: list[MapCheck]
) -> dict[str, Any]:
    """All figures. truth: the checks of the scenes' own maps."""
    maps = {
        str(count): compare(
            prompts, {rule: [o.maps[count, rule] for o in outcomes] for rule in RULES}
        )
        for count in SIZES
    }
    grades = {}
    for grade in GRADES:
        rows = [i for i, prompt in enumerate(prompts) if prompt.grade == grade]
        grades[str(grade)] = compare(
            [prompts[i] for i in rows],
            {rule: [outcomes[i].maps[max(SIZES), rule] for i in rows] for rule in RULES},
        )["joint"]
    painted = [i for i, outcome in enumerate(outcomes) if outcome.pictures]
    results: dict[str, Any] = {
        "truth": {kind: mean_of(found) for kind, found in values(prompts, truth).items()},
        "maps": maps,
        "joint_by_grade": grades,
        "check_milliseconds": 1e3 * float(np.median([o.check_seconds for o in outcomes])),
    }
    if painted:
        results["pictures"] = compare(
            [prompts[i] for i in painted],
            {rule: [outcomes[i].pictures[rule] for i in painted] for rule in RULES},
        )
        whole = float(np.median([outcomes[i].seconds for i in painted]))
        results["request_seconds"] = whole
        results["check_share"] = results["check_milliseconds"] / 1e3 / whole
    return results


def print_table(results: dict[str, Any]) -> None:
    """Means by kind; the last columns are of the joint score."""
    print(f"{'':<22}" + "".join(f"{kind:>18}" for kind in KINDS) + f"{'times':>8}")
    rows = [(f"maps, N = {count}", table) for count, table in results["maps"].items()]
    if "pictures" in results:
        rows.append(("pictures, N = 10", results["pictures"]))
    for title, table in rows:
        for rule in RULES:
            cells = "".join(
                f"{table[kind][rule]['estimate']:8.3f} "
                f"{table[kind][rule]['low']:.2f}-{table[kind][rule]['high']:.2f}"
                for kind in KINDS
            )
            last = table["joint"]["times_as_often"]["estimate"]
            print(f"{title:<11}{rule:>11}{cells}" + (f"{last:8.2f}" if rule != "recall" else ""))


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    add_segmenter(parser)
    parser.add_argument("--per-grade", type=int, default=50, help="prompts of each of four grades")
    parser.add_argument("--paint-every", type=int, default=4, help="paint every n-th; 0: none")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    prompts = requirement_prompts(given.per_grade)
    with Engine(given.bundle, threads=given.threads, **_options(given)) as engine:
        judge = Judge(engine, given.bundle, load_segmenter(given.segmenter))
        read = sum(
            engine.find_requirements(prompt.prompt).requirements == prompt.requirements
            for prompt in prompts
        )
        outcomes = []
        for i, prompt in enumerate(prompts):
            paint = given.paint_every > 0 and i % given.paint_every == 0
            outcomes.append(measure(engine, judge, prompt, i, paint))
            print(f"prompt {i + 1}/{len(prompts)}: {prompt.prompt}", file=sys.stderr, flush=True)
        runtime = engine.info.runtime
    results = {
        "prompts": len(prompts),
        "painted": sum(bool(outcome.pictures) for outcome in outcomes),
        "read_as_meant": read,
        "threads": given.threads,
        "runtime": runtime,
        "version": fgdm.__version__,
        **report(prompts, outcomes, [judge.check(prompt.labels, prompt) for prompt in prompts]),
    }
    print(f"{runtime}, {len(prompts)} prompts, {results['painted']} painted, {read} read as meant")
    print_table(results)
    write_results(given.output, results)
    return 0


def _options(given: Any) -> dict[str, Any]:
    options = engine_options(given)
    options.pop("threads")
    return options


if __name__ == "__main__":
    sys.exit(main())
