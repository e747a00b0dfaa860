"""What generated pairs are worth: a network trained on few real scenes, with and without them.

fgdm dataset bundles/scenes --world --count 1000 --output out/pairs
python -m benchmarks.downstream out/pairs --output benchmarks/results/downstream.json
fgdm dataset bundles/scenes --template "a person {relation} a {thing}" --count 300 --with pose \\
    --output out/people
python -m benchmarks.downstream out/people --task keypoints --generated 150 \\
    --output benchmarks/results/downstream-keypoints.json --resume

A segmenter, or a network that finds a person's joints (benchmarks/keypoints.py). FG-DM's appendix
A.1.2 on the procedural world. Every seed draws its own real scenes, and trains the same network
with the same number of steps on three sets: the real scenes, the generated pairs, and both, half of
each batch from either. Scores are of pictures of scenes that no side has seen. What is finished of
a seed is written at once, and --resume goes on from there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fgdm.evaluate.dataset import read_head, read_samples
from fgdm.statistics import bootstrap, paired_difference
from fgdm.train.autoencoder import to_tensor
from fgdm.train.classes import CLASSES, palette_json
from fgdm.train.dataset import render_scenes
from fgdm.train.loop import LoopOptions, train_stage
from fgdm.train.presets import StageBudget
from fgdm.train.segmenter import Segmenter, segment
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional

from benchmarks.keypoints import Keypoints
from benchmarks.learning import Pairs, Task
from benchmarks.machine import write_results

#: First seeds of scenes that training data of the bundle, and of each other, don't have.
_REAL, _TEST = 2_000_000_000, 3_000_000_000
#: Between the first scenes of two seeds.
_APART = 1_000_000
_UNLABELED = 255
#: The sides, and the one that the others are compared with.
ARMS = ("real", "real and generated", "generated")


class Segmentation:
    """Labels (n, S/2, S/2) uint8, and how well a segmenter sees them."""

    outputs = len(CLASSES)
    mirrors = True

    def real(self, first_seed: int, count: int, size: int) -> Pairs:
        """Rendered scenes."""
        rendered = render_scenes(first_seed, count, size, size // 2)
        return Pairs(rendered.images, rendered.labels)

    def generated(self, folder: Path, count: int) -> Pairs:
        """The first samples of a data set's folder. ValueError for too few, or another palette."""
        palette = read_head(folder)["factors"]["segmentation"]["palette"]
        expected: Any = palette_json()["classes"]
        names = [entry["name"] for entry in expected]
        if [entry["name"] for entry in palette["classes"]] != names:
            raise ValueError(f"{folder} has other classes than the procedural world")
        images: list[NDArray[np.uint8]] = []
        labels: list[NDArray[np.uint8]] = []
        for path, _ in read_samples(folder):
            if len(images) == count:
                break
            with Image.open(path / "image.png") as picture:
                images.append(np.asarray(picture))
            with Image.open(path / "segmentation.png") as picture:
                labels.append(np.asarray(picture))
        return Pairs.of(images, labels, folder, count)

    def loss(self, logits: torch.Tensor, target: NDArray[Any]) -> torch.Tensor:
        """Cross-entropy."""
        wanted = torch.from_numpy(np.ascontiguousarray(target.astype(np.int64)))
        return functional.cross_entropy(logits, wanted, ignore_index=_UNLABELED)

    def scores(self, network: Segmenter, test: Pairs) -> dict[str, float]:
        """Mean IoU and mean F1, more is better."""
        seen = segment(network, test.images, torch.device("cpu"))
        return scores(confusion(test.labels, seen))


TASKS: dict[str, Task] = {"segmentation": Segmentation(), "keypoints": Keypoints()}


def confusion(labels: NDArray[np.uint8], seen: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Pixels by their class (rows) and by what was seen in them (columns)."""
    classes = len(CLASSES)
    known = labels != _UNLABELED
    pairs = labels[known].astype(np.int64) * classes + seen[known]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def scores(matrix: NDArray[np.int64]) -> dict[str, float]:
    """Mean IoU and mean F1 (Dice) of the classes that the scenes hold, over all their pixels."""
    hits, real, seen = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    there = real > 0
    union = (real + seen - hits)[there]
    return {
        "miou": float((hits[there] / union).mean()),
        "f1": float((2 * hits[there] / (real + seen)[there]).mean()),
    }


def trained(
    task: Task, sources: list[Pairs], budget: StageBudget, width: int, seed: int
) -> Segmenter:
    """A network of batches that take as much from each source."""
    torch.manual_seed(seed)
    network = Segmenter(width, task.outputs)
    device = torch.device("cpu")
    share = budget.batch // len(sources)

    def loss(step: int, rng: np.random.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        images, labels = [], []
        for source in sources:
            drawn = rng.integers(len(source.images), size=share)
            images.append(source.images[drawn])
            labels.append(source.labels[drawn])
        batch, target = np.concatenate(images), np.concatenate(labels)
        if task.mirrors and rng.random() < 0.5:
            batch, target = batch[:, :, ::-1], target[:, :, ::-1]
        return task.loss(network(to_tensor(np.ascontiguousarray(batch), device)), target), {}

    with tempfile.TemporaryDirectory() as folder:
        modules = nn.ModuleDict({"network": network})
        options = LoopOptions(device, seed=seed, log_every=10**9)
        train_stage(f"seed {seed}", modules, loss, budget, Path(folder), options)
    return network


def summarize(runs: Mapping[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Means over seeds, and differences to the first arm's of the same seed, with 95 %."""
    first = runs[ARMS[0]]
    summary: dict[str, Any] = {}
    for arm, of_seeds in runs.items():
        summary[arm] = {}
        for name in of_seeds[0]:
            values = np.array([one[name] for one in of_seeds])
            mean = bootstrap(lambda chosen, v=values: float(v[chosen].mean()), len(values))  # type: ignore[misc]
            gain = paired_difference(list(values), [one[name] for one in first])
            summary[arm][name] = {"mean": mean.to_json(), "gain": gain.to_json()}
    return summary


def finished(path: Path | None, settings: Mapping[str, Any]) -> dict[str, list[dict[str, float]]]:
    """The runs of whole seeds in an earlier command's results; none where there is no file.

    ValueError for results of other settings; the number of seeds may differ.
    """
    runs: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    if path is None or not path.exists():
        return runs
    found = json.loads(path.read_text())
    apart = {
        name: (found["settings"].get(name), value)
        for name, value in settings.items()
        if name != "seeds" and found["settings"].get(name) != value
    }
    if apart:
        told = ", ".join(f"{name} {was}, not {asked}" for name, (was, asked) in apart.items())
        raise ValueError(f"{path} has results of {told}; resume with its settings, or elsewhere")
    return {arm: found["runs"][arm] for arm in ARMS}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pairs", type=Path, help="a folder of fgdm dataset")
    parser.add_argument("--task", choices=list(TASKS), default="segmentation")
    parser.add_argument("--real", type=int, default=50, help="real scenes")
    parser.add_argument("--generated", type=int, default=1000, help="generated pairs")
    parser.add_argument("--test", type=int, default=500, help="scenes that are scored")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--width", type=int, default=32, help="of the network")
    parser.add_argument("--output", type=Path, help="JSON file of the results")
    parser.add_argument(
        "--resume", action="store_true", help="go on after the last seed that --output has"
    )
    given = parser.parse_args(arguments)
    if given.resume and given.output is None:
        parser.error("--resume goes on from --output; give its file")
    task = TASKS[given.task]
    settings = {k: v for k, v in vars(given).items() if k not in ("output", "resume")}
    settings["pairs"] = str(given.pairs)
    runs = finished(given.output if given.resume else None, settings)
    generated = task.generated(given.pairs, given.generated)
    size = generated.images.shape[1]
    test = task.real(_TEST, given.test, size)
    budget = StageBudget(given.steps, given.batch, 2e-3, min(50, given.steps // 10))
    for seed in range(len(runs[ARMS[0]]), given.seeds):
        real = task.real(_REAL + seed * _APART, given.real, size)
        for arm, sources in zip(ARMS, ([real], [real, generated], [generated]), strict=True):
            network = trained(task, sources, budget, given.width, seed)
            runs[arm].append(task.scores(network, test))
            print(f"seed {seed}, {arm}: {runs[arm][-1]}", file=sys.stderr, flush=True)
        found = {"settings": settings, "seeds": seed + 1, "runs": runs, "summary": summarize(runs)}
        write_results(given.output, found)
    print(f"{given.real} real scenes, {given.generated} pairs, {len(runs[ARMS[0]])} seeds")
    for arm, measured in summarize(runs).items():
        for name, one in measured.items():
            mean, gain = one["mean"], one["gain"]
            print(
                f"{arm:<20}{name:>6} {mean['estimate']:.3f} ({mean['low']:.3f} to "
                f"{mean['high']:.3f}), more by {gain['estimate']:+.3f} ({gain['low']:+.3f} to "
                f"{gain['high']:+.3f})"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
