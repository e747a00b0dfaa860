"""Pictures that were taken back into noise, and edits of them: what ``Engine.invert`` returns and
``Engine.edit`` takes (docs/editing.md)."""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np
import numpy.typing as npt
from fgdm import values
from fgdm.errors import RequestError
from fgdm.files import read_regular, write_all
from fgdm.requirements import flag
from PIL import Image

if TYPE_CHECKING:
    from fgdm import _core
    from fgdm.request import FactorOptions
    from fgdm.values import Picture

#: Version of the files that Inversion.save writes.
INVERSION_SCHEMA = 2

#: Bytes of such a file.
_MOST_BYTES = 2**31

_ARRAYS = {
    "picture": np.uint8,
    "latents": np.float32,
    "remainders": np.float32,
    "visited": np.float32,
}


@dataclass(frozen=True, eq=False)
class Edit:
    """A change that words ask for (LEDITS++, section 4.2).

    prompt: what the picture shall show ("+"), or no longer ("-", the direction).
    scale: of its guidance, 0 to 100. warm_up, cool_down: it acts from so many edited steps on, and
    before so many; None: to the end.
    threshold: 0 to 1; it acts where its prediction differs most from that without it, on the cells
    of the latents above this quantile of the difference. 0: on all.
    attention: of those cells, only where the cross-attention of the prompt's own words is above
    this quantile too; in the noisiest fifth of the schedule there alone, as in LEDITS++. For a
    bundle that was exported with --attention-maps.
    region: only where the map has this class, by any name the palette knows: the map that was
    inverted, or of an image the last map of the request. mask: only there, as a request's mask:
    what is transparent in a picture with alpha, white in another, true in an array; of the inverted
    picture's size.
    """

    prompt: str
    direction: Literal["+", "-"] = "+"
    scale: float = 5.0
    warm_up: int = 0
    cool_down: int | None = None
    threshold: float = 0.9
    region: str = ""
    mask: Picture | npt.NDArray[np.bool_] | None = None
    attention: bool = False

    def to_core(self, name: str) -> dict[str, object]:
        """The fields as the core takes them. RequestError, which calls the edit `name`, for what is
        of the wrong type."""
        if self.direction not in ("+", "-"):
            raise RequestError(
                f'{name} direction is {values.shown(self.direction)}, expected "+" or "-"'
            )
        integer = values.required_integer
        return {
            "prompt": values.text(f"{name} prompt", self.prompt),
            "away": self.direction == "-",
            "scale": values.required_real(f"{name} scale", self.scale),
            "warm_up": integer(f"{name} warm_up", self.warm_up),
            "cool_down": None
            if self.cool_down is None
            else integer(f"{name} cool_down", self.cool_down),
            "threshold": values.required_real(f"{name} threshold", self.threshold),
            "attention": flag(f"{name} attention", self.attention),
            "region": values.text(f"{name} region", self.region),
            "mask": None if self.mask is None else values.mask(f"{name} mask", self.mask),
        }


def edits_to_core(edits: Sequence[Edit]) -> list[dict[str, object]]:
    """What Engine.edit was given. RequestError for anything but a list of edits."""
    if isinstance(edits, (str, bytes)) or not isinstance(edits, Sequence):
        raise RequestError(f"edits must be a list of fgdm.Edit, got {values.shown(edits)}")
    made = []
    for i, edit in enumerate(edits):
        if not isinstance(edit, Edit):
            raise RequestError(f"edits[{i}] must be an fgdm.Edit, got {values.shown(edit)}")
        made.append(edit.to_core(f"edits[{i}]"))
    return made


class InversionOptions(TypedDict, total=False):
    """Keyword arguments of ``Engine.invert`` that are those of a request; ``Engine.submit`` says
    what they mean."""

    seed: int | None
    height: int | None
    width: int | None
    factors: Mapping[str, FactorOptions | None] | None
    control_images: Mapping[str, Picture] | None
    controlnet_conditioning_scale: float | Sequence[float] | None
    priority: int | None
    deadline: float | None


@dataclass(frozen=True, eq=False)
class Inversion:
    """A picture that was taken back into noise; ``Engine.edit`` edits it, as often as you like.

    factor: whose picture it is. prompt, negative_prompt, guidance_scale, sampler, eta,
    timestep_spacing, steps, skip: as ``Engine.invert`` took them. bundle: the SHA-256 of the
    manifest of the bundle that it was made with. height, width: of the request's image.
    picture: what was inverted, RGB. latents: float32 (C, h, w), where sampling begins. remainders:
    float32 (steps taken, C, h, w), what each step adds to land on the next latents: the noise maps
    of edit-friendly inversion, times their steps' deviations; none with eta=0. visited: float32
    (steps taken, C, h, w), the latents that each step leads to where nothing is edited; the last
    are the picture's own.
    """

    factor: str
    prompt: str
    negative_prompt: str
    guidance_scale: float
    sampler: str
    eta: float
    timestep_spacing: str
    steps: int
    skip: float
    bundle: str
    height: int
    width: int
    picture: Image.Image
    latents: npt.NDArray[np.float32]
    remainders: npt.NDArray[np.float32]
    visited: npt.NDArray[np.float32]

    @classmethod
    def from_core(cls, core: _core.Inversion, channels: int) -> Inversion:
        """Takes over the core's arrays. channels: of the bundle's latents."""
        settings: dict[str, Any] = dict(core.settings)
        picture = core.picture
        cells = core.latents.size // channels
        height = math.isqrt(cells * picture.shape[0] // picture.shape[1])
        width = cells // height
        return cls(
            **{name: value for name, value in settings.items() if name != "num_inference_steps"},
            steps=settings["num_inference_steps"],
            bundle=core.bundle,
            height=core.height,
            width=core.width,
            picture=Image.fromarray(picture),
            latents=core.latents.reshape(channels, height, width),
            remainders=core.remainders.reshape(-1, channels, height, width),
            visited=core.visited.reshape(-1, channels, height, width),
        )

    def to_core(self) -> _core.Inversion:
        """The same for the core, which checks that all fits."""
        from fgdm import _core  # noqa: PLC0415 (a file is read without the core)

        settings = {**self._settings(), "num_inference_steps": self.steps}
        del settings["steps"]
        return _core.Inversion(
            settings=settings,
            bundle=self.bundle,
            height=self.height,
            width=self.width,
            picture=np.ascontiguousarray(self.picture.convert("RGB")),
            latents=self.latents,
            remainders=self.remainders,
            visited=self.visited,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it as an .npz, whole or not at all. OutputError if it can't be written."""
        fields = {
            **self._settings(),
            "schema": INVERSION_SCHEMA,
            "bundle": self.bundle,
            "height": self.height,
            "width": self.width,
        }
        stream = io.BytesIO()
        np.savez(
            stream,
            settings=np.frombuffer(json.dumps(fields).encode(), np.uint8),
            picture=np.asarray(self.picture.convert("RGB")),
            latents=self.latents,
            remainders=self.remainders,
            visited=self.visited,
        )
        target = Path(values.path("path", path))
        write_all({target: stream.getbuffer()}, remedy="choose another file")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Inversion:
        """Reads what ``save`` wrote. RequestError if it is no such file, or is damaged."""
        file = Path(values.path("path", path))
        try:
            content = read_regular(file, _MOST_BYTES)
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                fields = json.loads(archive["settings"].tobytes())
                arrays = {name: archive[name] for name in _ARRAYS}
            return cls._checked(fields, arrays)
        except OSError as error:
            reason = error.strerror or str(error)
        except KeyError as error:
            reason = f"it has no {error}"
        except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
            reason = str(error)
        raise RequestError(
            f"can't read the inversion {str(file)!r}: {reason:.200}; expected a file that "
            "Inversion.save wrote"
        )

    @classmethod
    def _checked(cls, fields: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> Inversion:
        if fields.pop("schema") != INVERSION_SCHEMA:
            raise ValueError(f"its schema isn't {INVERSION_SCHEMA}, which this version reads")
        for name, kind in _ARRAYS.items():
            dimensions = {"picture": 3, "latents": 3}.get(name, 4)
            if arrays[name].dtype != kind or arrays[name].ndim != dimensions:
                raise ValueError(f"{name} are {arrays[name].dtype} of shape {arrays[name].shape}")
        if arrays["picture"].shape[2] != 3 or arrays["picture"].size == 0:
            raise ValueError(f"its picture has the shape {arrays['picture'].shape}")
        latents = arrays["latents"]
        for name in ("remainders", "visited"):
            if latents.shape != arrays[name].shape[1:]:
                raise ValueError(
                    f"latents and {name} have the shapes {latents.shape} and {arrays[name].shape}"
                )
        picture = Image.fromarray(arrays.pop("picture"))
        every: dict[str, Any] = {**fields, **arrays, "picture": picture}
        return cls(**every)

    def _settings(self) -> dict[str, Any]:
        return {
            "factor": self.factor,
            "prompt": self.prompt,
            "negative_prompt": self.negative_prompt,
            "guidance_scale": self.guidance_scale,
            "sampler": self.sampler,
            "eta": self.eta,
            "timestep_spacing": self.timestep_spacing,
            "steps": self.steps,
            "skip": self.skip,
        }
