"""A person's joints in pictures: labels of scenes and of pose maps, a loss, and the mean error."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fgdm.evaluate.dataset import read_samples
from fgdm.maps import decode_pose
from fgdm.train.autoencoder import to_tensor
from fgdm.train.render import render
from fgdm.train.segmenter import Segmenter
from fgdm.train.truth import skeletons
from fgdm.train.world import sample_scene
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from benchmarks.learning import Pairs


class Keypoints:
    """Labels (n, 18, 4) of the only person in a picture: x, y, visible as in `fgdm.poses`, and the
    longer side of the person's box as a fraction of the picture, 0 where it isn't known."""

    outputs = 18
    mirrors = False

    def real(self, first_seed: int, count: int, size: int) -> Pairs:
        """Rendered scenes with one person, from a seed on."""
        images: list[NDArray[np.uint8]] = []
        labels: list[NDArray[np.float32]] = []
        for seed in itertools.count(first_seed):
            if len(images) == count:
                break
            scene = sample_scene(seed)
            if not any(item.name == "person" for item in scene.instances):
                continue
            view = render(scene, size, geometry=False)
            people = skeletons(scene.instances, view.labels)
            if len(people) == 1:
                images.append(view.image)
                labels.append(_labels(people[0].joints, people[0].side))
        return Pairs(np.stack(images), np.stack(labels))

    def generated(self, folder: Path, count: int) -> Pairs:
        """The first samples of a data set's folder whose pose map has one person. ValueError for
        too few."""
        images: list[NDArray[np.uint8]] = []
        labels: list[NDArray[np.float32]] = []
        for path, _ in read_samples(folder):
            if len(images) == count:
                break
            with Image.open(path / "pose.png") as picture:
                people = decode_pose(np.asarray(picture.convert("RGB")))
            if len(people) == 1:
                with Image.open(path / "image.png") as picture:
                    images.append(np.asarray(picture))
                labels.append(_labels(people[0], 0))
        return Pairs.of(images, labels, folder, count)

    def loss(self, logits: torch.Tensor, target: NDArray[Any]) -> torch.Tensor:
        """Of every visible joint, the cross-entropy of the pixel that it is in."""
        height, width = logits.shape[2:]
        joints = torch.from_numpy(np.ascontiguousarray(target))
        column = (joints[..., 0] * width).long().clamp(0, width - 1)
        row = (joints[..., 1] * height).long().clamp(0, height - 1)
        visible = joints[..., 2] > 0
        return functional.cross_entropy(logits.flatten(2)[visible], (row * width + column)[visible])

    @torch.no_grad()
    def scores(self, network: Segmenter, test: Pairs) -> dict[str, float]:
        """nme: the mean distance of a visible joint from where it is seen, by the longer side of
        the person's box. Less is better."""
        network.eval()
        logits = torch.cat(
            [
                network(to_tensor(test.images[i : i + 32], torch.device("cpu")))
                for i in range(0, len(test.images), 32)
            ]
        )
        height, width = logits.shape[2:]
        best = logits.flatten(2).argmax(2).numpy()
        seen = np.stack([best % width / width, best // width / height], -1) + 0.5 / width
        apart = np.linalg.norm(seen - test.labels[..., :2], axis=-1) / test.labels[..., 3]
        return {"nme": float(apart[test.labels[..., 2] > 0].mean())}


def _labels(joints: NDArray[np.float32], side: float) -> NDArray[np.float32]:
    return np.concatenate([joints, np.full((len(joints), 1), side, np.float32)], 1)
