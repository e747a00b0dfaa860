"""The bundles of a service, by the names that requests know them by."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fgdm.engine import Engine

from .errors import ApiError
from .scoring import Scoring, scoring_of

if TYPE_CHECKING:
    from fgdm.credentials import Credentials
    from fgdm.llm import LanguageModel
    from fgdm.scorers import PictureScorer


@dataclass(frozen=True)
class Model:
    """An open bundle. multiple: of which the picture's height and width are. credentials: what its
    pictures' files are signed with. reader: the language model that may read its prompts. scoring:
    what scores its pictures, so that they may be painted again."""

    name: str
    engine: Engine
    created: int = field(default_factory=lambda: int(time.time()))
    credentials: Credentials | None = None
    reader: LanguageModel | None = None
    scoring: Scoring | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a picture that nobody asks otherwise of, in pixels."""
        image = self.engine.manifest["factors"][-1]
        return int(image["height"]), int(image["width"])

    @property
    def map_factor(self) -> str | None:
        """The factor that `Result.candidates` speaks of: the last that makes labels, else the last
        before the image; None for a chain of the image alone."""
        conditions = self.engine.manifest["factors"][:-1]
        labels = [factor for factor in conditions if factor.get("palette")]
        return str((labels or conditions)[-1]["name"]) if conditions else None

    def map_pixels(self, height: int, width: int) -> int:
        """The most that a factor's map has, for a picture of that size."""
        *factors, image = self.engine.manifest["factors"]
        scale = height * width / (image["height"] * image["width"])
        return max((round(f["height"] * f["width"] * scale) for f in factors), default=0)

    @property
    def multiple(self) -> tuple[int, int]:
        """Of which a picture's height and width are, so that every factor's are whole latents."""
        manifest = self.engine.manifest
        cell = manifest["autoencoder"]["downscale"] * manifest["backbone"]["downscale"]
        image = manifest["factors"][-1]

        def along(axis: str) -> int:
            steps = [
                image[axis] * cell // math.gcd(image[axis] * cell, factor[axis])
                for factor in manifest["factors"]
            ]
            return math.lcm(cell, *steps)

        return along("height"), along("width")


class Models:
    """At least one. A service of one bundle answers to any name, one of several to theirs.

    aliases: further names, each with that of the bundle that answers to it. credentials,
    reader: as in Model, of all. scorers: of bundles' pictures (fgdm.scorers), by names;
    by default those of their own segmenters.
    """

    def __init__(
        self,
        engines: Mapping[str, Engine],
        aliases: Mapping[str, str] | None = None,
        credentials: Credentials | None = None,
        reader: LanguageModel | None = None,
        scorers: Mapping[str, PictureScorer] | None = None,
    ) -> None:
        if not engines:
            raise ValueError("a service needs an engine")
        self._models = {
            name: Model(
                name,
                engine,
                credentials=credentials,
                reader=reader,
                scoring=scoring_of(engine, (scorers or {}).get(name)),
            )
            for name, engine in engines.items()
        }
        self.aliases = dict(aliases or {})

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def named(self) -> Iterator[tuple[str, Model]]:
        """Every name that an open bundle is known by."""
        opened = {model.name: model for model in self}
        yield from opened.items()
        for alias, name in self.aliases.items():
            if name in opened:
                yield alias, opened[name]

    @property
    def closed(self) -> list[str]:
        """Names of bundles that are opened once they are asked for (cluster/models.py)."""
        return []

    async def opened(self, name: str | None) -> Model:
        """What `find` returns and raises; where it must be opened first, that is waited for."""
        return self.find(name)

    def find(self, name: str | None) -> Model:
        """Raises ApiError (404) for a name that none of several bundles has."""
        name = self.aliases.get(name or "", name)
        if name is None or len(self._models) == 1:
            return next(iter(self._models.values()))
        if name not in self._models:
            raise ApiError(
                404,
                f"there is no model {name!r:.100}; expected one of "
                f"{', '.join([*self._models, *self.aliases])}",
                code="model_not_found",
                param="model",
            )
        return self._models[name]
