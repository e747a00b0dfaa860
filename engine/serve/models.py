"""The bundles of a service, by the names that requests know them by."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fgdm.engine import Engine

from .errors import ApiError


@dataclass(frozen=True)
class Model:
    """An open bundle. multiple: of which the picture's height and width are."""

    name: str
    engine: Engine
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a picture that nobody asks otherwise of, in pixels."""
        image = self.engine.manifest["factors"][-1]
        return int(image["height"]), int(image["width"])

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
    """At least one. A service of one bundle answers to any name, one of several to theirs."""

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        if not engines:
            raise ValueError("a service needs an engine")
        self._models = {name: Model(name, engine) for name, engine in engines.items()}

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def find(self, name: str | None) -> Model:
        """Raises ApiError (404) for a name that none of several bundles has."""
        first = next(iter(self._models.values()))
        if name is None or len(self._models) == 1:
            return first
        if name not in self._models:
            raise ApiError(
                404,
                f"there is no model {name!r:.100}; expected one of {', '.join(self._models)}",
                code="model_not_found",
                param="model",
            )
        return self._models[name]
