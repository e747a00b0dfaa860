"""Changes of one value of a JSON document, of every kind that a reader may meet."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of all values in a document."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    if isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))


def changed(manifest: Json, path: tuple[str | int, ...], value: object) -> Json:
    """A copy of a document with another value at a path."""
    document = copy.deepcopy(manifest)
    target: Any = document
    for step in path[:-1]:
        target = target[step]
    if value is ...:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    return document


def with_own_backbone(sound: Json) -> Json:
    """The manifest of `sound_manifest` with a backbone of the sketch's own."""
    manifest = copy.deepcopy(sound)
    sketch, graphs = manifest["factors"][1], manifest["graphs"]
    sketch |= {"backbone": "own", "latents": ["segmentation", "sketch"], "conditionings": []}
    ports = [port for port in graphs["backbone"]["inputs"] if "_residual" not in port["name"]]
    ports[0] = ports[0] | {"shape": ["batch", 8, "height", "width"]}
    graphs["own"] = {**graphs["backbone"], "inputs": ports}
    return manifest


#: What a value is replaced by; ... stands for its removal.
VALUES: list[object] = [
    ...,
    None,
    True,
    0,
    -1,
    1,
    2**31,
    2**64,
    10**30,
    0.5,
    1e300,
    "",
    "x",
    "../x",
    "image",
    "backbone",
    "float16",
    "a\nb",
    "\x7f",
    "\u0085",
    "\u00a0",
    "\u202e",
    "\ud800",
    "é",
    [],
    {},
    [[]],
    {"": 1},
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
