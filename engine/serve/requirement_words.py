"""Requirements in the core's words, entry by entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from fgdm.compliance import check_map

#: Of a bundle that makes no labels.
NO_WORDS: dict[str, Any] = {"objects": [], "relations": [], "absent": []}

# What is said of a requirement is the same of every map.
_ANY_MAP = np.zeros((1, 1), np.uint8)
_COUNTS = ("count", "at_least", "at_most")


def in_words(requirements: Mapping[str, Any], palette: Mapping[str, object]) -> dict[str, Any]:
    """What is required beside classes that are there, in lists as long as those of `requirements`.

    ``objects``: of each entry its ``count`` and ``color``, null where it has none; ``relations``
    and ``absent``: their texts. Raises RequestError for requirements that aren't allowed.
    """
    said: dict[str, list[str]] = {"count": [], "relation": [], "color": []}
    for one in check_map(_ANY_MAP, requirements, palette).requirements:
        said.setdefault(one.kind, []).append(one.text)
    # Within a kind they have the order of the request. What is absent twice is said once.
    counts, colors = iter(said["count"]), iter(said["color"])
    objects = []
    for entry in requirements.get("objects", ()):
        fields = entry if isinstance(entry, Mapping) else {}
        has_count = any(fields.get(name) is not None for name in _COUNTS)
        has_color = fields.get("color") is not None
        objects.append(
            {
                "count": next(counts) if has_count else None,
                "color": next(colors) if has_color else None,
            }
        )
    return {
        "objects": objects,
        "relations": said["relation"],
        "absent": [
            check_map(_ANY_MAP, {"absent": [name]}, palette).requirements[0].text
            for name in requirements.get("absent", ())
        ],
    }
