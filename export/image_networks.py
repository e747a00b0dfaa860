"""The image factor's networks: ControlNets and T2I-Adapters, and which picture each one sees."""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass
from typing import Any

from diffusers import ControlNetModel, T2IAdapter

from .errors import ExportError
from .graphs import controlnet_graph, hint_graph, t2i_adapter_graph
from .layout import BackboneLayout
from .names import check_name, unused_name
from .signature import Graph
from .sources import Source

LARGEST_SCALE = 10.0


@dataclass(frozen=True)
class NetworkSource:
    """A ControlNet or T2I-Adapter to export.

    condition: the condition factor whose chosen map it sees, or the name of a control image that
    every request has to bring; None stands for the condition factor where there is only one.
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

    def as_json(
        self, label_factors: Container[str], hint_palette: HintPalette | None
    ) -> dict[str, Any]:
        """What the manifest says of it. Only maps of the `label_factors` are recoloured."""
        entry: dict[str, Any] = {
            "kind": _kind(self.model),
            "graph": self.name,
            "condition": self.condition,
            "scale": self.scale,
            "hint_palette": None,
        }
        if isinstance(self.model, ControlNetModel):
            entry["hint_graph"] = f"{self.name}_hint"
        if hint_palette is not None and self.condition in label_factors:
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
    factors: Sequence[str],
    given: Sequence[tuple[NetworkSource, ControlNetModel | T2IAdapter]],
    taken: Collection[str] = (),
) -> tuple[ImageNetwork, ...]:
    """Names the loaded networks after their conditions: ``controlnet_depth``, a second one
    ``controlnet_depth_2``.

    Args:
        factors: names of the condition factors that a network without a condition may mean.
        taken: names of graphs that are there already.

    Raises:
        ExportError: a scale or the name of a condition isn't allowed, or it isn't said where there
            isn't one factor.
    """
    named: dict[str, ImageNetwork] = {}
    for source, model in given:
        condition = _condition(source, factors)
        check_name(condition)
        if not 0.0 <= source.scale <= LARGEST_SCALE:
            raise ExportError(
                f"the scale of {source.source} is {source.scale}; expected 0 to {LARGEST_SCALE:g}"
            )
        name = unused_name(f"{_kind(model)}_{condition}", {*named, *taken})
        named[name] = ImageNetwork(name, condition, source.scale, model)
    return tuple(named.values())


def _condition(source: NetworkSource, factors: Sequence[str]) -> str:
    if source.condition is not None:
        return source.condition
    if len(factors) == 1:
        return factors[0]
    known = f"one of the factors {', '.join(factors)}, or " if factors else ""
    raise ExportError(
        f"say what {source.source} sees, as {(*factors, 'depth')[0]}={source.source}: {known}the "
        "name of a picture that requests bring"
    )


def _kind(model: ControlNetModel | T2IAdapter) -> str:
    return "t2i_adapter" if isinstance(model, T2IAdapter) else "controlnet"
