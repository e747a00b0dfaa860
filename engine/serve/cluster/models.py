"""Bundles of which a replica has some open."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fgdm.serve.errors import ApiError
from fgdm.serve.models import Model, Models
from fgdm.serve.scoring import Scoring, load_segmenter, scoring_of
from ray import serve

from .scaling import CountedEngine

if TYPE_CHECKING:
    from pathlib import Path

    from fgdm.credentials import Credentials
    from fgdm.llm import LanguageModel


class BundlePool(Models):
    """Opens bundles once they are asked for, at most so many at a time.

    One that goes for another is closed when its last request has ended. segmenters: files by names
    of bundles, each loaded with its bundle.
    """

    def __init__(
        self,
        folders: Mapping[str, str],
        aliases: Mapping[str, str],
        most: int,
        options: Mapping[str, Any],
        credentials: Credentials | None = None,
        reader: LanguageModel | None = None,
        segmenters: Mapping[str, Path] | None = None,
    ) -> None:
        self._folders, self._most = dict(folders), most
        self.aliases = dict(aliases)
        self._opened: weakref.WeakValueDictionary[str, Model] = weakref.WeakValueDictionary()

        async def load(name: str) -> Model:
            engine = await asyncio.to_thread(CountedEngine, self._folders[name], **options)
            file = (segmenters or {}).get(name)

            def scored() -> Scoring | None:
                threads = options.get("threads", 0)
                named = None if file is None else load_segmenter(file, engine, threads)
                return scoring_of(engine, named)

            try:
                scoring = await asyncio.to_thread(scored)
            except BaseException:
                engine.close()
                raise
            model = Model(name, engine, credentials=credentials, reader=reader, scoring=scoring)
            self._opened[name] = model
            return model

        #: Ray keeps those used last, and tells the proxies which replica has which.
        self.load: Callable[[str], Awaitable[Model]] = serve.multiplexed(
            max_num_models_per_replica=most
        )(load)

    async def open_first(self) -> None:
        """As many as may be open."""
        for name in list(self._folders)[: self._most]:
            await self.load(name)

    def __iter__(self) -> Iterator[Model]:
        return iter(list(self._opened.values()))

    @property
    def closed(self) -> list[str]:
        return [name for name in self._folders if name not in self._opened]

    async def opened(self, name: str | None) -> Model:
        name = self.aliases.get(name or "", name)
        if name is None or len(self._folders) == 1:
            name = next(iter(self._folders))
        if name not in self._folders:
            raise ApiError(
                404,
                f"there is no model {name!r:.100}; expected one of {', '.join(self._folders)}",
                code="model_not_found",
                param="model",
            )
        # A client that leaves meanwhile doesn't stop it: Ray would go on to name the bundle as one
        # that is open here.
        return await asyncio.shield(asyncio.ensure_future(self.load(name)))

    def unfinished_rows(self) -> int:
        return sum(
            model.engine.unfinished_rows
            for model in self
            if isinstance(model.engine, CountedEngine)
        )

    def unfinished_requests(self) -> int:
        numbers = [model.engine.metrics() for model in self]
        return sum(number["queued"] + number["active"] for number in numbers)
