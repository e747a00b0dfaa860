"""A backbone of a factor's own, which sees earlier factors' latents beside the noisy one."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

from diffusers import UNet2DConditionModel

from .errors import ExportError
from .graphs import own_backbone_graph
from .layout import total_stride
from .names import unused_name
from .seen import check_distinct, seen_latents
from .signature import Graph
from .sources import Source, load_backbone


@dataclass(frozen=True)
class BackboneSource:
    """A UNet to export as a factor's own backbone (FG-DM, appendix A.1.2).

    latents: the factors whose latents it sees, by name and in its own order; its own factor's
    name stands for the noisy latent, which must be among them. None: that one alone.
    """

    source: Source
    latents: tuple[str, ...] | None = None


@dataclass(frozen=True)
class OwnBackbone:
    """A loaded one. name: of its graph and of its weights' folder. latents: what it sees."""

    name: str
    latents: tuple[str, ...]
    model: UNet2DConditionModel

    def graph(self, max_length: int, attention_maps: bool = False) -> Graph:
        return own_backbone_graph(self.name, self.model, max_length, attention_maps)

    def as_json(self) -> dict[str, Any]:
        """What the manifest says of it, in its factor's entry."""
        return {"backbone": self.name, "latents": list(self.latents)}


def load_own_backbone(
    factor: str,
    given: BackboneSource,
    earlier: Sequence[str],
    base: UNet2DConditionModel,
    taken: Container[str] = (),
) -> OwnBackbone:
    """The backbone of a factor.

    Args:
        factor: its name. earlier: the condition factors before it.
        base: the bundle's UNet, whose latents and embeddings the backbone takes.
        taken: names of graphs that are there.

    Raises:
        ExportError: it can't be read, doesn't fit the base, sees another number of latents than it
            takes, those of a factor that doesn't come earlier, or not its own factor's.
    """
    model = load_backbone(given.source)
    who = f"the backbone {given.source} of factor {factor}"
    channels, width = base.config.in_channels, base.config.cross_attention_dim
    count, odd = divmod(model.config.in_channels, channels)
    if odd or count == 0:
        raise ExportError(
            f"{who} takes {model.config.in_channels} channels; expected a multiple of {channels}, "
            "the channels of one latent"
        )
    for what, own, expected in (
        ("predicts noise of so many channels", model.config.out_channels, channels),
        ("has a cross_attention_dim", model.config.cross_attention_dim, width),
    ):
        if own != expected:
            raise ExportError(f"{who} {what}: {own}; expected the base's {expected}")
    if total_stride(base) % total_stride(model):
        raise ExportError(
            f"{who} makes latents {total_stride(model)} times smaller within; expected a divisor "
            f"of {total_stride(base)}, the base's"
        )
    seen = seen_latents("backbone", given.source, given.latents, count, factor, earlier)
    check_distinct("backbone", given.source, seen, factor)
    if factor not in seen:
        raise ExportError(
            f"{who} sees {', '.join(seen)}; expected {factor} among them, for the noisy latent"
        )
    return OwnBackbone(unused_name(f"backbone_{factor}", taken), seen, model)
