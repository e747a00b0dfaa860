"""The image factor's networks: ControlNets and T2I-Adapters, and which picture each one sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diffusers import ControlNetModel, T2IAdapter

from .errors import ExportError
from .graphs import controlnet_graph, hint_graph, t2i_adapter_graph
from .layout import BackboneLayout
from .signature import Graph
from .sources import Source

LARGEST_SCALE = 10.0


@dataclass(frozen=True)
class NetworkSource:
    """A ControlNet or T2I-Adapter to export.

    condition: the condition factor whose chosen map it sees, or the name of a control image that
    every request has to bring; None stands for the condition factor.
    scale: its weight, 0 to 10, unless a request says otherwise.
    """

    source: Source
    condition: str | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class ImageNetwork:
    """A loaded network of the image factor. name: of its graph and of its weights' folder."""

    name: str
    condition: str
    scale: float
    model: ControlNetModel | T2IAdapter

    def graphs(self, layout: BackboneLayout, max_length: int, downscale: int) -> list[Graph]:
        """Its graphs; a hint encoder comes before its ControlNet."""
        if isinstance(self.model, T2IAdapter):
            return [t2i_adapter_graph(self.name, self.model, layout, downscale)]
        return [
            hint_graph(self.name, self.model, downscale),
            controlnet_graph(self.name, self.model, max_length),
        ]

    def as_json(self, factor: str, hint_palette: HintPalette | None) -> dict[str, Any]:
        """What the manifest says of it. Only maps of the condition `factor` are recoloured."""
        entry: dict[str, Any] = {
            "kind": _kind(self.model),
            "graph": self.name,
            "condition": self.condition,
            "scale": self.scale,
            "hint_palette": None,
        }
        if isinstance(self.model, ControlNetModel):
            entry["hint_graph"] = f"{self.name}_hint"
        if hint_palette is not None and self.condition == factor:
            entry |= {"hint_palette": hint_palette.file, "recolor": hint_palette.recolor}
        return entry


@dataclass(frozen=True)
class HintPalette:
    """The palette that the networks were trained on, where it isn't the map's.

    file: in the bundle. recolor: class of the map's palette to class of this one; a class that
    isn't named becomes unlabeled.
    """

    file: str
    recolor: dict[str, str]


def name_networks(
    factor: str, given: Sequence[tuple[NetworkSource, ControlNetModel | T2IAdapter]]
) -> tuple[ImageNetwork, ...]:
    """Names the loaded networks after their conditions: ``controlnet_depth``, a second one
    ``controlnet_depth_2``.

    Raises:
        ExportError: a scale or the name of a condition isn't allowed.
    """
    named: dict[str, ImageNetwork] = {}
    for source, model in given:
        condition = factor if source.condition is None else source.condition
        check_condition(condition)
        if not 0.0 <= source.scale <= LARGEST_SCALE:
            raise ExportError(
                f"the scale of {source.source} is {source.scale}; expected 0 to {LARGEST_SCALE:g}"
            )
        stem = f"{_kind(model)}_{condition}"
        name, number = stem, 1
        while name in named:
            number += 1
            name = f"{stem}_{number}"
        named[name] = ImageNetwork(name, condition, source.scale, model)
    return tuple(named.values())


def _kind(model: ControlNetModel | T2IAdapter) -> str:
    return "t2i_adapter" if isinstance(model, T2IAdapter) else "controlnet"


def check_condition(condition: str) -> None:
    """Raises ExportError for a name that graphs and folders can't be called after."""
    plain = condition.isascii() and condition.replace("_", "a").isalnum()
    if not plain or condition != condition.lower() or condition in ("image", "hint"):
        raise ExportError(
            f"the condition's name is {condition!r}; expected lower-case letters, digits and _, "
            "and neither 'image' nor 'hint'"
        )
