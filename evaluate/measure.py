"""Measures what a run made: every figure that its networks and references allow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fgdm.train.figures import table_row
from numpy.typing import NDArray
from PIL import Image

from . import metrics
from .figures import Measured, Score, Total
from .metrics import Evidence, Metric
from .networks.base import FeatureNetwork, LabelNetwork, Networks, Pictures, Seen, resized
from .parameters import least_area
from .reference import Reference
from .run_folder import Made, RunFolder
from .settings import Setting
from .stopwatch import Stopwatch
from .trials import trials_of

#: Pictures of one call of a network.
_BATCH = 32
#: Pictures whose distances to each other a distance network is asked for.
_MOST_IN_PAIRS = 64
_UNLABELED = 255

#: Called with how many of the pictures were looked at, and how many there are.
Watch = Callable[[int, int], None]


@dataclass(frozen=True)
class References:
    """What pictures and maps should be like; None where nothing was given."""

    pictures: Reference | None = None
    maps: Reference | None = None


class Measurer:
    """Measures the settings of one complete run. Raises RequestError for files that can't be read.

    Of references the features are made once.
    """

    def __init__(
        self, run: RunFolder, networks: Networks, references: References, stopwatch: Stopwatch
    ) -> None:
        self._run = run
        self._networks = networks
        self._stopwatch = stopwatch
        self._names = {"pictures": references.pictures, "maps": references.maps}
        self._references = {
            (what, network.name): self._all(network, reference.batches(_BATCH)).features
            for what, reference in self._names.items()
            if reference is not None
            for network in networks.features
        }

    def measure(self, setting: Setting, watch: Watch = lambda done, total: None) -> Measured:
        """All figures of a setting."""
        made = list(self._run.made(setting))
        measured = Measured(setting)
        seconds = [one.seconds for one in made]
        measured.scores["seconds"] = Score("seconds a picture", seconds, more_is_better=False)
        factor = self._run.plan.labels_factor
        if factor is not None and all(one.result["candidates"] for one in made):
            self._add_map_scores(measured, made)
        self._add_picture_scores(measured, made, watch)
        self._add_distributions(measured, "pictures", [one.picture for one in made])
        if self._names["maps"] is not None and factor is not None:
            maps = [lambda one=one: one.map(factor) for one in made]
            self._add_distributions(measured, "maps", maps)
        self._add_distances(measured, made)
        return measured

    def _add_map_scores(self, measured: Measured, made: Sequence[Made]) -> None:
        """Recall and compliance of the chosen map, and of all candidates if all were finished."""
        results = [one.result for one in made]
        measured.scores["map_recall"] = Score(
            "recall of the chosen map", [result["recall"] for result in results]
        )
        kinds = {one["kind"] for result in results for one in result["requirements"]}
        if kinds - {"present"}:
            measured.scores["compliance"] = Score(
                "compliance of the chosen map", [result["compliance"] for result in results]
            )
        numbers = {len(result["candidates"]) for result in results}
        candidates = [one for result in results for one in result["candidates"]]
        if len(numbers) == 1 and not any(one["pruned"] or one["failed"] for one in candidates):
            recalls = np.array([[one["recall"] for one in r["candidates"]] for r in results])
            measured.candidates = table_row(recalls, numbers.pop())
            measured.trials = trials_of(results)
        else:
            measured.notes.append(
                f"{measured.setting.name}: maps were dropped or left out, so that there is no row "
                "of Table 3 and no number of trials; --option stop_at_recall=0 finishes all"
            )

    def _add_picture_scores(self, measured: Measured, made: Sequence[Made], watch: Watch) -> None:
        """What scorers say of pictures, and what the label network sees in them."""
        labels = self._networks.labels
        factor, classes = self._run.plan.labels_factor, self._run.plan.classes
        scores: dict[str, list[float]] = {one.name: [] for one in self._networks.scorers}
        recalls, ious, confusions = [], [], []
        for start in range(0, len(made), _BATCH):
            batch = made[start : start + _BATCH]
            pictures = np.stack([one.picture() for one in batch])
            texts = [self._run.plan.prompts[one.index].text for one in batch]
            for scorer in self._networks.scorers:
                with self._stopwatch.on("networks"):
                    given = scorer.score(pictures, texts)
                scores[scorer.name] += [float(value) for value in given]
            if labels is not None and factor is not None:
                with self._stopwatch.on("networks"):
                    seen = labels.label(pictures)
                seen = _translated(seen, labels, classes)
                for one, found in zip(batch, seen, strict=True):
                    own = one.labels(factor)
                    shown = _to_size(found, own.shape)
                    confusions.append(metrics.confusion_of(own, shown, len(classes)))
                    recalls.append(_recall(shown, one.result, factor, classes))
                    ious.append(_iou(confusions[-1]))
            watch(start + len(batch), len(made))
        for name, values in scores.items():
            measured.scores[name] = Score(name, values)
        if labels is not None and confusions:
            seen_by = f"seen by the {labels.name}"
            measured.scores["picture_recall"] = Score(f"recall of the picture, {seen_by}", recalls)
            measured.scores["picture_iou"] = Score(f"IoU of a picture and its map, {seen_by}", ious)
            evidence = Evidence(confusion=np.stack(confusions))
            for key, title, metric in (
                ("miou", "mIoU of pictures and maps", metrics.mean_iou),
                ("fwiou", "frequency-weighted IoU", metrics.frequency_weighted_iou),
            ):
                self._add_total(measured, key, f"{title}, {seen_by}", metric, evidence)

    def _add_distributions(
        self, measured: Measured, what: str, images: Sequence[Callable[[], Pictures]]
    ) -> None:
        """Of pictures or of maps, by each feature network: what the set of them is like."""
        for network in self._networks.features:
            seen = self._all(network, _batches(images))
            reference = self._references.get((what, network.name))
            evidence = Evidence(seen.features, reference, seen.logits)
            by = f"{what}, {network.name}"
            key = f"{what}/{network.name}"
            if reference is not None:
                distance = "FID" if network.is_inception else "Fréchet distance"
                self._add_total(
                    measured,
                    f"{key}/frechet",
                    f"{distance} ({by})",
                    metrics.frechet_distance,
                    evidence,
                    more_is_better=False,
                )
                for name, metric in (("precision", metrics.precision), ("recall", metrics.recall)):
                    self._add_total(measured, f"{key}/{name}", f"{name} ({by})", metric, evidence)
                if min(len(evidence), len(reference)) <= seen.features.shape[1]:
                    measured.notes.append(
                        f"{distance} ({by}): of {len(evidence)} and {len(reference)} pictures with "
                        f"{seen.features.shape[1]} features it is far too large; compare it only "
                        "with others of the same numbers"
                    )
            if seen.logits is not None:
                of = "Inception score" if network.is_inception else "class score"
                self._add_total(
                    measured, f"{key}/classes", f"{of} ({by})", metrics.inception_score, evidence
                )
            self._add_total(
                measured,
                f"{key}/diversity",
                f"diversity, cosine ({by})",
                metrics.diversity,
                dataclasses.replace(evidence, reference=None, logits=None),
            )

    def _add_distances(self, measured: Measured, made: Sequence[Made]) -> None:
        """Diversity by the distance network, of the first pictures."""
        network = self._networks.distance
        if network is None:
            return
        first = made[:_MOST_IN_PAIRS]
        distances = np.zeros((len(first), len(first)))
        rows, columns = np.triu_indices(len(first), 1)
        for start in range(0, len(rows), _BATCH):
            pairs = slice(start, start + _BATCH)
            left, right = (
                np.stack([first[i].picture() for i in side[pairs]]) for side in (rows, columns)
            )
            with self._stopwatch.on("networks"):
                distances[rows[pairs], columns[pairs]] = network.distances(left, right)
        evidence = Evidence(distances=distances + distances.T)
        title = f"diversity ({network.name}, {len(first)} pictures)"
        self._add_total(measured, f"diversity/{network.name}", title, metrics.diversity, evidence)

    def _add_total(
        self,
        measured: Measured,
        key: str,
        title: str,
        metric: Metric,
        evidence: Evidence,
        more_is_better: bool | None = True,
    ) -> None:
        try:
            measured.totals[key] = Total.measured(title, metric, evidence, more_is_better)
        except ValueError as error:
            measured.notes.append(f"{title} isn't measured: {error}")

    def _all(self, network: FeatureNetwork, batches: Iterator[Pictures]) -> Seen:
        """What a network sees in all pictures."""
        seen = []
        for batch in batches:
            with self._stopwatch.on("networks"):
                seen.append(network.see(batch))
        logits = [one.logits for one in seen if one.logits is not None]
        return Seen(
            np.concatenate([one.features for one in seen]),
            np.concatenate(logits) if len(logits) == len(seen) else None,
        )


def _batches(images: Sequence[Callable[[], Pictures]]) -> Iterator[Pictures]:
    for start in range(0, len(images), _BATCH):
        yield np.stack([image() for image in images[start : start + _BATCH]])


def _translated(seen: Pictures, network: LabelNetwork, classes: Sequence[str]) -> Pictures:
    """A label network's labels in the palette's indices; what the palette lacks is unlabeled."""
    table = np.full(256, _UNLABELED, np.uint8)
    for index, name in enumerate(network.classes):
        if name in classes:
            table[index] = classes.index(name)
    return np.asarray(table[seen])


def _to_size(labels: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    only: NDArray[np.uint8] = resized(labels[None], (shape[0], shape[1]), Image.Resampling.NEAREST)[
        0
    ]
    return only


def _recall(labels: NDArray[np.uint8], result: Any, factor: str, classes: Sequence[str]) -> float:
    """Requested classes that have the request's least area / requested classes; 1 for none."""
    requested = result["requested"]
    areas = np.bincount(labels.ravel(), minlength=256) / labels.size
    least = least_area(result["parameters"], factor)
    found = [areas[classes.index(name)] >= least for name in requested]
    return float(np.mean(found)) if found else 1.0


def _iou(confusion: NDArray[np.int64]) -> float:
    """Of one picture and its map; 0 for a map without any class."""
    return metrics.mean_iou(Evidence(confusion=confusion[None])) if confusion.any() else 0.0
