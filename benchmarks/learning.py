"""What a downstream task is: labelled pictures, a loss and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from fgdm.train.segmenter import Segmenter
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pairs:
    """Pictures (n, S, S, 3) uint8 and the labels of each, (n, ...)."""

    images: NDArray[np.uint8]
    labels: NDArray[Any]

    @classmethod
    def of(
        cls,
        images: Sequence[NDArray[np.uint8]],
        labels: Sequence[NDArray[Any]],
        folder: Path,
        count: int,
    ) -> Pairs:
        """What was read from a data set's folder. ValueError for fewer than `count`."""
        if len(images) < count:
            raise ValueError(
                f"{folder} has {len(images)} such samples, expected {count}; see fgdm dataset"
            )
        return cls(np.stack(images), np.stack(labels))


class Task(Protocol):
    """outputs: channels of the network. mirrors: whether labels are mirrored as pictures are."""

    outputs: int
    mirrors: bool

    def real(self, first_seed: int, count: int, size: int) -> Pairs: ...

    def generated(self, folder: Path, count: int) -> Pairs: ...

    def loss(self, logits: torch.Tensor, target: NDArray[Any]) -> torch.Tensor: ...

    def scores(self, network: Segmenter, test: Pairs) -> dict[str, float]: ...
