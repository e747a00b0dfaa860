"""What a request's parameters, as a result tells them, say of one of its factors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def least_area(parameters: Mapping[str, Any], factor: str) -> float:
    """The fraction of the factor's map from which on a class is there; the request's own says
    nothing where factors differ."""
    of_all = parameters["min_area"]
    least: float = parameters["factors"][factor]["min_area"] if of_all is None else of_all
    return least
