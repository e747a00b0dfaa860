"""An evaluation's results: one JSON object that tables and pages are made of."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from fgdm import machine

from .figures import Measured, compare
from .measure import References
from .networks.base import Networks
from .run_folder import RunFolder
from .stopwatch import Stopwatch

#: Version of results.json.
SCHEMA = 1
_PACKAGES = ("fgdm", "onnxruntime", "torch", "torchmetrics", "torch-fidelity", "transformers")


def results(
    run: RunFolder,
    measured: Sequence[Measured],
    networks: Networks,
    references: References,
    stopwatch: Stopwatch,
    made: int,
) -> dict[str, Any]:
    """All that was measured; the first setting is what the others are compared with.

    made: how many pictures this process made itself, which `time` is about.
    """
    plan = run.plan
    named = {
        "features": [network.name for network in networks.features],
        "labels": None if networks.labels is None else networks.labels.name,
        "distance": None if networks.distance is None else networks.distance.name,
        "scorers": [scorer.name for scorer in networks.scorers],
    }
    found = {
        "schema": SCHEMA,
        "machine": _machine(),
        "bundle": plan.bundle,
        "manifest_sha256": plan.manifest,
        "engine": dict(plan.engine),
        "prompts": [prompt.text for prompt in plan.prompts],
        "seed": plan.seed,
        "networks": named,
        "references": {
            what: None if reference is None else reference.name
            for what, reference in vars(references).items()
        },
        "settings": [one.to_json() for one in measured],
        "comparisons": [compare(one, measured[0]) for one in measured[1:]],
        "notes": list(dict.fromkeys(note for one in measured for note in one.notes)),
    }
    found["time"] = {"made": made, **stopwatch.to_json()}
    return found


def _machine() -> dict[str, Any]:
    """Where and when this was measured, and by which versions."""
    versions = {name: machine.package_version(name) for name in _PACKAGES}
    return {
        "processor": machine.find_processor().model,
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version for name, version in versions.items() if version is not None},
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
