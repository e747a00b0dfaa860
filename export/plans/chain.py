"""Which plans a bundle's chain of factors needs: graphs, resolutions and batch buckets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fgdm.manifest import Factor, Manifest, Port

from ..errors import ExportError
from ..symbols import resolve

#: Rows that get a plan of their own; a batch of another size takes the next larger one.
BUCKETS = (1, 2, 4, 8, 16, 20)
#: Rows that a conditioning network takes for each candidate.
_ROWS = {"adapter": 1, "controlnet": 2, "t2i_adapter": 1}


@dataclass(frozen=True)
class Profile:
    """An optimization profile: a resolution and a batch bucket.

    height, width: in pixels, 0 for a graph that has none.
    """

    rows: int
    height: int = 0
    width: int = 0


@dataclass(frozen=True)
class GraphProfiles:
    """The profiles that one graph of the manifest is needed at, smallest first."""

    graph: str
    profiles: tuple[Profile, ...]


class Chain:
    """What a bundle's manifest says of its graphs' roles and sizes; no graph is read."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._graphs = {graph.name: graph for graph in manifest.graphs}

    def needed(
        self,
        max_candidates: int,
        image_sizes: Sequence[tuple[int, int]] = (),
        max_images: int = 1,
    ) -> list[GraphProfiles]:
        """Every graph that the engine runs, with the profiles that it can meet.

        A graph is built for each image size (the bundle's own if none is given) at the factors'
        shares of it, so a map is half as high and wide, and for the rows that a factor gives it:

        - the backbone and the shallow ones, and a ControlNet while guidance is classifier-free,
          take two rows a candidate, the negative and the positive one;
        - an adapter, a T2I-Adapter and a decoder take one row a candidate;
        - the hint encoder and the autoencoder's encoder, for maps and pictures that a request
          brings, take one row, and the text encoder one, at no particular size.

        A condition factor has up to `max_candidates` candidates, the image factor one of each of
        `max_images` requests, whose pictures are decoded one by one. Of those rows, the `BUCKETS`
        below the largest number get a profile, and the largest number itself: 10 candidates make 1,
        2, 4, 8, 16 and 20 rows of the backbone at a map's size, and one image makes 1 and 2 at its
        own.

        Raises:
            ExportError: a size or the number of candidates or images can't be had.
        """
        for number, what in ((max_candidates, "candidates"), (max_images, "images")):
            if number < 1:
                raise ExportError(f"at most {number} {what} given; expected 1 or more")
        manifest = self.manifest
        image = manifest.factors[-1]
        most: dict[str, dict[tuple[int, int], int]] = {manifest.text_encoder: {(0, 0): 1}}
        for image_size in image_sizes or [(image.height, image.width)]:
            for factor in manifest.factors:
                size = self._factor_size(image_size, (factor.height, factor.width))
                paints = factor.kind == "image"
                candidates = max_images if paints else max_candidates
                decoded = 1 if paints else max_candidates
                uses = {
                    **dict.fromkeys(_backbones(manifest, factor), 2 * candidates),
                    manifest.encoder: 1,
                    **dict.fromkeys(manifest.decoders, decoded),
                }
                for network in factor.conditionings:
                    uses[network.graph] = _ROWS[network.kind] * candidates
                    if network.hint_graph is not None:
                        uses[network.hint_graph] = 1
                for graph, rows in uses.items():
                    rows_at = most.setdefault(graph, {})
                    rows_at[size] = max(rows, rows_at.get(size, 0))
        return [
            GraphProfiles(graph, tuple(self._profiles(graph, rows_at)))
            for graph, rows_at in most.items()
        ]

    def _profiles(self, graph: str, rows_at: dict[tuple[int, int], int]) -> list[Profile]:
        ports = self._ports(graph)
        sizeless = ("batch", "lora_rank")
        if not any(
            isinstance(size, str) and size not in sizeless for p in ports for size in p.shape
        ):
            rows_at = {(0, 0): max(rows_at.values())}
        return [
            Profile(rows, *size)
            for size, largest in sorted(rows_at.items())
            for rows in buckets(largest)
        ]

    def shapes(self, graph: str, profile: Profile) -> dict[str, tuple[int, ...]]:
        """The shape of every input and output of a graph at a profile, by name.

        LoRAs that requests weigh have the rank of all of them together; the engine gives a plan
        all, those that aren't asked for with a weight of 0.

        Raises:
            ExportError: the manifest names a size of which the profile doesn't tell the number.
        """
        found = {}
        downscale = self.manifest.latent_downscale
        rank = sum(lora.rank for lora in self.manifest.loras)
        for port in self._ports(graph):
            try:
                found[port.name] = resolve(
                    port.shape,
                    batch=profile.rows,
                    height=profile.height // downscale,
                    width=profile.width // downscale,
                    downscale=downscale,
                    lora_rank=rank,
                )
            except ValueError as error:
                raise ExportError(
                    f"graph {graph}, {port.name}: {error}; export the bundle again"
                ) from error
        return found

    def _ports(self, graph: str) -> tuple[Port, ...]:
        return self._graphs[graph].inputs + self._graphs[graph].outputs

    def _factor_size(self, image_size: tuple[int, int], own: tuple[int, int]) -> tuple[int, int]:
        """A factor's height and width when the image has the given ones, in the bundle's ratio."""
        image = self.manifest.factors[-1]
        height, odd_height = divmod(image_size[0] * own[0], image.height)
        width, odd_width = divmod(image_size[1] * own[1], image.width)
        multiple = self.manifest.size_multiple
        fits = not (odd_height or odd_width or height % multiple or width % multiple)
        if not fits or height <= 0 or width <= 0:
            raise ExportError(
                f"the image size {image_size[0]}x{image_size[1]} makes a map or image of "
                f"{height}x{width}, which isn't a multiple of {multiple}; with this bundle "
                f"expected multiples of {multiple * image.height // own[0]}"
            )
        return height, width


def _backbones(manifest: Manifest, factor: Factor) -> tuple[str, ...]:
    """Of a factor's steps; the shallow ones are there for all requests that ask for them."""
    if factor.own_backbone is not None:
        return (factor.own_backbone,)
    return manifest.backbone, *manifest.shallow_backbones


def buckets(most: int) -> list[int]:
    """The rows that get a profile where there are at most `most`: 10 gives 1, 2, 4, 8, 10."""
    return [rows for rows in BUCKETS if rows < most] + [most]
