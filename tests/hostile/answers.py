"""What an answer must be like, whatever was asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fgdm
import jsonschema
import numpy as np
from fgdm.result import Result

_SCHEMA = Path(fgdm.__file__).parent / "result.schema.json"


def check_result(result: Result) -> str | None:
    """What is wrong with a result: None if it is one that fgdm may give."""
    document: dict[str, Any] = json.loads(json.dumps(result.to_json(), allow_nan=False))
    try:
        jsonschema.validate(document, json.loads(_SCHEMA.read_text(encoding="utf-8")))
    except jsonschema.ValidationError as error:
        return f"result.json doesn't fit its schema: {error.message[:200]}"
    if not 0.0 <= result.recall <= 1.0:
        return f"recall is {result.recall}"
    if set(result.found) | set(result.missing) != set(result.requested):
        return f"found {result.found}, missing {result.missing} of {result.requested}"
    if not (
        0 <= result.chosen < len(result.candidates) or (result.chosen, result.factors) == (-1, {})
    ):
        return f"candidate {result.chosen} of {len(result.candidates)} is chosen"
    picture = np.asarray(result.image)
    if picture.ndim != 3 or picture.dtype != np.uint8 or picture.size == 0:
        return f"the image is {picture.dtype} of shape {picture.shape}"
    return None
