"""Inception-v3 as FID means it: torch-fidelity's network, from a file of its weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fgdm.errors import BackendError, RequestError

from .base import Pictures, Seen

#: How the SHA-256 of the converted TensorFlow weights begins; their file's name ends with it.
_WEIGHTS = "6726825d"


class Inception:
    """Features (n, 2048) and class logits of pictures of any size.

    Only with the weights that everybody's FID is measured with is it called Inception-v3.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        """Raises RequestError for a file of other weights' shapes, BackendError where
        torch-fidelity, or the torchvision that it needs, can't be loaded."""
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import (  # noqa: PLC0415
                FeatureExtractorInceptionV3,
            )
        except (ImportError, RuntimeError, OSError) as error:
            raise BackendError(
                f"--inception needs torch-fidelity, which can't be loaded: {error!s:.200}; "
                "run: pip install 'fgdm[inception]', with the torchvision of your torch's build"
            ) from None
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            network: Any = FeatureExtractorInceptionV3(
                "inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(path)
            )
        except Exception as error:  # of torch.load and load_state_dict
            raise RequestError(
                f"can't read Inception-v3's weights in {path}: {error!s:.200}; expected "
                f"weights-inception-2015-12-05-{_WEIGHTS}.pth of torch-fidelity"
            ) from None
        self.is_inception = digest.startswith(_WEIGHTS)
        self.name = "Inception-v3" if self.is_inception else f"weights of {path.name}"
        self._network = network.to(device)
        self._device = device

    @torch.no_grad()
    def see(self, pictures: Pictures) -> Seen:
        """(n, 2048) features, (n, 1008) logits without their bias."""
        batch = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).to(self._device)
        features, logits = self._network(batch)
        return Seen(features.float().cpu().numpy(), logits.float().cpu().numpy())
