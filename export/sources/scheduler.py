"""The noise schedule that a base model was trained with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import ExportError
from .sd1 import SCHEDULER, SUPPORTED
from .tensors import read_json

_NEEDED = ("beta_start", "beta_end", "beta_schedule")


def read_scheduler(folder: Path) -> dict[str, Any]:
    """The noise schedule in a diffusers folder's ``scheduler/scheduler_config.json``.

    Keys that old configurations lack get Stable Diffusion 1.x's values.

    Raises:
        ExportError: the file is missing or malformed, or the model doesn't predict the noise.
    """
    path = folder / "scheduler" / "scheduler_config.json"
    config = read_json(path)
    prediction = config.get("prediction_type", "epsilon")
    if prediction != "epsilon":
        raise ExportError(
            f"{path}: prediction_type is {prediction!r}, as in Stable Diffusion 2.x; supported is "
            f"{SUPPORTED}, whose prediction_type is 'epsilon'"
        )
    missing = [key for key in _NEEDED if key not in config]
    if missing:
        raise ExportError(f"{path} lacks {', '.join(missing)}")
    return {key: config.get(key, value) for key, value in SCHEDULER.items()}
