"""What a request's parameters, as a result tells them, say of one of its factors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def least_area(parameters: Mapping[str, Any], factor: str) -> float:
    """The fraction of the factor's map from which on a class is there: its own, else the
    request's."""
    own = parameters.get("factors", {}).get(factor, {}).get("min_area")
    least: float = parameters["min_area"] if own is None else own
    return least
