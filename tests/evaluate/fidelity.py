"""torch-fidelity in a process of its own, where torchvision may be missing: figures need none.

python fidelity.py CALL INPUT.npz OUTPUT.npz
"""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch


class _Missing(types.ModuleType):
    """A module whose every name is an empty class."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def stand_in_for_torchvision() -> None:
    """Unless the real one can be loaded."""
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):
        for name in ("", ".datasets", ".transforms", ".transforms.functional", ".models"):
            module = sys.modules["torchvision" + name] = _Missing("torchvision" + name)
            above, _, own = module.__name__.rpartition(".")
            if above:
                setattr(sys.modules[above], own, module)


def metrics(given: dict[str, Any]) -> dict[str, Any]:
    """Of made and real features, and logits."""
    from torch_fidelity import metric_fid, metric_isc, metric_prc  # noqa: PLC0415

    made, real, logits = (torch.from_numpy(given[key]) for key in ("made", "real", "logits"))
    statistics = [metric_fid.fid_features_to_statistics(one) for one in (made, real)]
    found = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)
    found |= metric_prc.prc_features_to_metric(made, real, verbose=False)
    found |= metric_isc.isc_features_to_metric(logits, splits=1)
    return dict(found)


def inception(given: dict[str, Any]) -> dict[str, Any]:
    """What our class and theirs see in pictures, with random weights that this writes to a file."""
    from fgdm.evaluate.networks.inception import Inception  # noqa: PLC0415
    from torch_fidelity import feature_extractor_inceptionv3 as theirs  # noqa: PLC0415

    torch.manual_seed(0)
    theirs.load_state_dict_from_url = lambda *_, **__: None
    load, theirs.FeatureExtractorInceptionV3.load_state_dict = (
        theirs.FeatureExtractorInceptionV3.load_state_dict,
        lambda self, state: None,
    )
    network = theirs.FeatureExtractorInceptionV3("random", ["2048", "logits_unbiased"])
    theirs.FeatureExtractorInceptionV3.load_state_dict = load
    path = Path(str(given["weights"]))
    torch.save(network.state_dict(), path)
    own = Inception(path)
    pictures = given["pictures"]
    seen = own.see(pictures)
    with torch.no_grad():
        features, logits = network(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    return {
        "features": seen.features,
        "logits": seen.logits,
        "their_features": features.numpy(),
        "their_logits": logits.numpy(),
        "is_inception": own.is_inception,
        "name": own.name,
    }


if __name__ == "__main__":
    stand_in_for_torchvision()
    np.savez(
        sys.argv[3],
        **{"metrics": metrics, "inception": inception}[sys.argv[1]](dict(np.load(sys.argv[2]))),
    )
