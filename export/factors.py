"""The condition factors of a chain: what each makes, its adapters, and whose latents they see."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import UNet2DConditionModel
from fgdm.manifest import LINES, OUTPUTS

from .adapter import ConditionAdapter
from .defaults import ConditionDefaults, cache_json
from .errors import ExportError
from .graphs import adapter_graph
from .names import check_name, unused_name
from .own_backbone import BackboneSource, OwnBackbone
from .seen import check_distinct, seen_latents
from .signature import Graph
from .sources import Source

#: The factor that isn't a condition; its adapters are given under this name.
IMAGE = "image"


@dataclass(frozen=True)
class AdapterSource:
    """An adapter to export.

    latents: the factors whose latents it sees, by name and in its own order; its own factor's
    name stands for the noisy latent that is being sampled. None: that one alone. An adapter of
    several latents sees them concatenated along the channels; of a file that holds several adapters
    each sees its share.
    """

    source: Source
    latents: tuple[str, ...] | None = None


@dataclass(frozen=True)
class FactorSource:
    """A condition factor to export.

    adapters: one or several, whose features are summed; none of a factor with a backbone of its
    own. backbone: that one; None for the one that factors share.
    output: "labels", or a picture: "depth", "normal", "sketch" or "pose". None goes by the
    factor's name, and is "labels" if that is none of these.
    lines: of a sketch: "white" on black, as ControlNets for scribbles and edges are trained, or
    "black" on white.
    defaults: None takes the bundle's.
    optional: left out, unless a request names it.
    """

    adapters: Source | AdapterSource | Sequence[AdapterSource] = ()
    output: str | None = None
    lines: str = "white"
    defaults: ConditionDefaults | None = None
    backbone: BackboneSource | None = None
    optional: bool = False

    @property
    def adapter_sources(self) -> tuple[AdapterSource, ...]:
        if isinstance(self.adapters, AdapterSource):
            return (self.adapters,)
        if isinstance(self.adapters, str | Path):
            return (AdapterSource(self.adapters),)
        return tuple(self.adapters)


@dataclass(frozen=True)
class FactorAdapter:
    """A loaded adapter. name: of its graph and of its weights' folder. latents: what it sees."""

    name: str
    latents: tuple[str, ...]
    model: ConditionAdapter

    def graph(self, unet: UNet2DConditionModel) -> Graph:
        return adapter_graph(self.name, self.model, unet)

    def as_json(self) -> dict[str, Any]:
        return {"kind": "adapter", "graph": self.name, "latents": list(self.latents)}


@dataclass(frozen=True)
class ConditionFactor:
    """A condition factor with its loaded adapters, or with a backbone of its own.

    size: height and width of its maps in pixels. palette: the file of the classes' colours, of a
    factor that makes labels.
    """

    name: str
    output: str
    lines: str
    adapters: tuple[FactorAdapter, ...]
    defaults: ConditionDefaults
    size: tuple[int, int]
    palette: str
    backbone: OwnBackbone | None = None
    optional: bool = False

    def as_json(self) -> dict[str, Any]:
        """What the manifest says of it."""
        defaults = self.defaults
        entry: dict[str, Any] = {
            "name": self.name,
            "kind": "condition",
            "output": self.output,
            "conditionings": [adapter.as_json() for adapter in self.adapters],
            "height": self.size[0],
            "width": self.size[1],
            "num_inference_steps": defaults.num_inference_steps,
            "sampler": defaults.sampler,
            "guidance": "cfg",
            "guidance_scale": defaults.guidance_scale,
            "prompt_prefix": defaults.prompt_prefix,
            "prompt_suffix": defaults.prompt_suffix,
        }
        entry |= cache_json(defaults)
        if defaults.timestep_spacing is not None:
            entry["timestep_spacing"] = defaults.timestep_spacing
        if self.optional:
            entry["optional"] = True
        if self.backbone is not None:
            entry |= self.backbone.as_json()
        if self.output == "sketch":
            entry["lines"] = self.lines
        if self.output == "labels":
            entry["stop_at_recall"] = defaults.stop_at_recall
            if defaults.wave:
                entry["wave"] = defaults.wave
            entry["min_area"] = defaults.min_area
            entry["palette"] = self.palette
        return entry


def read_factors(given: Mapping[str, Source | FactorSource]) -> dict[str, FactorSource]:
    """The factors by name, in the chain's order; the image comes last.

    Raises:
        ExportError: a name, an output or a default isn't allowed, or a factor has neither adapters
            nor a backbone of its own, or both.
    """
    factors = {
        name: entry if isinstance(entry, FactorSource) else FactorSource(entry)
        for name, entry in given.items()
    }
    for name, factor in factors.items():
        if name != IMAGE:
            check_name(name)
        elif factor.output is not None or factor.defaults is not None:
            raise ExportError("the image is no condition factor; only its adapters are given so")
        if factor.output not in (None, *OUTPUTS):
            raise ExportError(
                f"factor {name} makes {factor.output!r}; expected one of {', '.join(OUTPUTS)}"
            )
        if factor.lines not in LINES:
            raise ExportError(
                f"factor {name} has lines {factor.lines!r}; expected {' or '.join(LINES)}"
            )
        if not factor.adapter_sources and factor.backbone is None:
            raise ExportError(f"factor {name} has no adapter; give one, or a backbone of its own")
        if factor.adapter_sources and factor.backbone is not None:
            raise ExportError(
                f"factor {name} has a backbone of its own, which takes no adapters; leave out "
                "either"
            )
        if factor.defaults is not None:
            factor.defaults.check(f"factor {name}")
    # The image sees all of them, wherever it was given.
    return dict(sorted(factors.items(), key=lambda item: item[0] == IMAGE))


def label_factors(factors: Mapping[str, FactorSource]) -> list[str]:
    """The names of those that make labels."""
    return [
        name
        for name, factor in factors.items()
        if name != IMAGE and _output(name, factor) == "labels"
    ]


def make_condition(
    name: str,
    factor: FactorSource,
    adapters: tuple[FactorAdapter, ...],
    defaults: ConditionDefaults,
    image_size: tuple[int, int],
    palette: str,
    backbone: OwnBackbone | None = None,
) -> ConditionFactor:
    """The condition factor; what it doesn't say comes from the bundle's defaults."""
    chosen = factor.defaults or defaults
    size = chosen.size or (image_size[0] // 2, image_size[1] // 2)
    output = _output(name, factor)
    return ConditionFactor(
        name,
        output,
        factor.lines,
        adapters,
        chosen,
        size,
        palette,
        backbone,
        factor.optional,
    )


def check_size(factor: str, size: tuple[int, int], multiple: int) -> None:
    """Raises ExportError for a map's size that doesn't divide into latents."""
    if any(side < multiple or side % multiple for side in size):
        raise ExportError(
            f"the maps of factor {factor} are {size[0]}x{size[1]}; expected multiples of {multiple}"
        )


def _output(name: str, factor: FactorSource) -> str:
    return factor.output or (name if name in OUTPUTS else "labels")


def name_adapters(
    factor: str,
    given: Sequence[AdapterSource],
    loaded: Sequence[Sequence[ConditionAdapter]],
    earlier: Sequence[str],
    latent_channels: int,
    taken: Collection[str] = (),
) -> tuple[FactorAdapter, ...]:
    """The adapters of a factor, each with a name and what it sees.

    Args:
        factor: its name. earlier: the condition factors before it.
        loaded: what each of the sources `given` holds. taken: names of graphs that are there.

    Raises:
        ExportError: an adapter sees another number of latents than it takes, or those of a factor
            that doesn't come earlier.
    """
    named: dict[str, FactorAdapter] = {}
    for source, models in zip(given, loaded, strict=True):
        counts = [model.config.in_channels // latent_channels for model in models]
        seen = list(
            seen_latents("adapter", source.source, source.latents, sum(counts), factor, earlier)
        )
        for model, count in zip(models, counts, strict=True):
            name = unused_name(f"adapter_{factor}", {*named, *taken})
            latents = tuple(seen[:count])
            del seen[:count]
            check_distinct("adapter", source.source, latents, factor)
            named[name] = FactorAdapter(name, latents, model)
    return tuple(named.values())
