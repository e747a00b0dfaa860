"""The three ways of FG-DM's section 4 to edit a picture whose map is known, on one call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from fgdm.errors import RequestError
from fgdm.inversion import Edit
from fgdm.job import complete
from fgdm.paste import changed_pixels, check_seam, seam_around

if TYPE_CHECKING:
    from fgdm.engine import Engine
    from fgdm.inversion import Inversion
    from fgdm.job import Job
    from fgdm.result import Result
    from fgdm.values import Picture

#: In the order in which they are made.
WAYS = ("mask", "pixel", "paste")

#: What an edit of the picture takes of the options that the map's has: the inversion says the rest.
_OF_THE_PICTURE = ("keep", "step_callback", "priority", "deadline")


class Stage(NamedTuple):
    """A job of the several that an edit is made of.

    name: ``inversion`` and ``edit`` of what the edit begins with, ``picture inversion`` and
    ``picture edit`` of the picture that its map belongs to, ``paste``. submit: queues it, and takes
    more of its method's options, or others in place of those that it has.
    """

    name: str
    submit: Callable[..., Job[Any]]


def stages_of_ways(
    engine: Engine,
    inversion: Inversion,
    edits: Sequence[Edit],
    prompt: str,
    *,
    image: Picture | None = None,
    ways: Sequence[str] = WAYS,
    seam: int | None = None,
    strength: float = 0.6,
    inverting: dict[str, Any] | None = None,
    **options: Any,
) -> Generator[Stage, Any, dict[str, Result]]:
    """What `edit_in_ways` does, job after job, for who waits in a way of his own: yields each
    Stage, is sent what its job resulted in, and returns the results by way. Raises likewise."""
    unknown = [way for way in ways if way not in WAYS]
    if unknown or not ways:
        raise RequestError(f"ways has {unknown or 'no entry'}, expected some of {', '.join(WAYS)}")
    if image is None and set(ways) != {"mask"}:
        raise RequestError("there is no image to edit; give the picture that the map belongs to")
    check_seam(seam, strength)
    first: Result = yield Stage(
        "edit", partial(engine.submit_edit, inversion, edits, prompt, **options)
    )
    results = {"mask": first} if "mask" in ways else {}
    if image is None:
        return results
    before = np.asarray(inversion.picture)
    after = np.asarray(first.factors[inversion.factor].map)
    changed = changed_pixels(before, after, (inversion.height, inversion.width))
    if "pixel" in ways:
        maps: dict[str, Any] = {
            name: {"map": np.asarray(one.map)} for name, one in first.factors.items()
        }
        where = changed | seam_around(changed, seam)
        placed = [dataclasses.replace(edit, region="", mask=where) for edit in edits]
        common = {name: value for name, value in options.items() if name in _OF_THE_PICTURE}
        source: dict[str, Any] = {
            **{name: common[name] for name in ("priority", "deadline") if name in common},
            "steps": inversion.steps,
            "skip": inversion.skip,
            "sampler": inversion.sampler,
            "eta": inversion.eta,
            "seed": first.seed,
            "factors": {**maps, inversion.factor: {"map": before}},
            **(inverting or {}),
            "edits": placed,
        }
        of_image: Inversion = yield Stage(
            "picture inversion", partial(engine.submit_inversion, image=image, **source)
        )
        results["pixel"] = yield Stage(
            "picture edit",
            partial(
                engine.submit_edit,
                of_image,
                placed,
                prompt,
                factors=maps,
                seed=first.seed,
                **common,
            ),
        )
    if "paste" in ways:
        pasting = {name: value for name, value in options.items() if name != "keep"}
        pasting["seed"] = first.seed
        results["paste"] = yield Stage(
            "paste",
            partial(
                engine.submit_paste,
                inversion,
                first,
                image,
                prompt,
                seam=seam,
                strength=strength,
                **pasting,
            ),
        )
    return results


def edit_in_ways(
    engine: Engine,
    inversion: Inversion,
    edits: Sequence[Edit],
    prompt: str,
    *,
    image: Picture | None = None,
    ways: Sequence[str] = WAYS,
    seam: int | None = None,
    strength: float = 0.6,
    inverting: dict[str, Any] | None = None,
    **options: Any,
) -> dict[str, Result]:
    """Edits a map, and makes the picture that belongs to the edited one in each way.

    inversion: of the map. edits, prompt: as of ``Engine.edit``. image: the picture of that map; for
    "mask" alone none is needed. ways: "mask", the picture is painted anew; "pixel", the picture is
    inverted with the old map, and edited with the new one where the maps differ, and `seam` pixels
    around; "paste": as ``Engine.paste`` says, which has seam and strength. inverting: options of
    ``Engine.invert`` for the picture; those that the map's inversion has are the defaults.
    options: of ``Engine.edit`` and of ``Engine.paste``.

    Waits for all, and returns the results by way. Raises RequestError for a way that isn't there,
    a picture that is missing, and what the methods named raise.
    """
    stages = stages_of_ways(
        engine,
        inversion,
        edits,
        prompt,
        image=image,
        ways=ways,
        seam=seam,
        strength=strength,
        inverting=inverting,
        **options,
    )
    made: Any = None
    while True:
        try:
            stage = stages.send(made)
        except StopIteration as end:
            results: dict[str, Result] = end.value
            return results
        made = complete(stage.submit())
