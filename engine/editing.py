"""What an engine can do to pictures that there are: ``Engine.invert`` and ``Engine.edit``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from fgdm import extras, request, values
from fgdm.errors import RequestError
from fgdm.inversion import Inversion, edits_to_core
from fgdm.job import Job, MapCallback, StepCallback, completed
from fgdm.paste import changed_pixels, pasted, seam_around
from fgdm.requirements import flag
from fgdm.submitting import Submitter
from PIL import Image

if TYPE_CHECKING:
    import numpy.typing as npt
    from fgdm import _core
    from fgdm.inversion import Edit, InversionOptions
    from fgdm.request import RequestOptions
    from fgdm.requirements import Requirements
    from fgdm.result import Result
    from fgdm.scorers import Score, SegmenterScorer
    from fgdm.values import Numbers, Picture
    from typing_extensions import Unpack


class Editor(Submitter):
    """The part of an Engine that takes pictures back into noise and changes them from there."""

    _segmenter: SegmenterScorer | None = None
    _threads: int

    @property
    @abstractmethod
    def palette(self) -> dict[str, Any] | None:
        """As Engine has it."""

    def submit_inversion(
        self,
        *,
        image: Picture | None = None,
        map: Picture | None = None,
        factor: str | None = None,
        prompt: str = "",
        negative_prompt: str = "",
        guidance_scale: float = 1.0,
        sampler: str = "dpmsolver++_sde",
        eta: float = 1.0,
        timestep_spacing: str | None = None,
        steps: int = 50,
        skip: float = 0.2,
        noise: Numbers | None = None,
        edits: Sequence[Edit] | None = None,
        step_callback: StepCallback | None = None,
        **options: Unpack[InversionOptions],
    ) -> Job[Inversion]:
        """Queues the inversion of a picture and returns at once; see Job.

        image: a picture, which the image factor takes back. map: a map, which a condition factor
        does, a picture or uint8 (h, w) class indices. One of the two; its size says that of the
        request's image. factor: whose picture it is; without it, of an image the image factor, of a
        map the last factor that makes labels.
        prompt: what the picture shows; with a guidance_scale above 1 it is guided as a request is.
        Without one, the negative_prompt alone is what the model is told. An edit that counts
        nothing gives the picture back, up to what the autoencoder loses.
        sampler: "dpmsolver++_sde", or "ddim" with eta 1 (the variance of DDPM), or with eta 0,
        whose own steps are gone back, which lands near the picture only.
        steps: of the whole schedule, 2 to 1000. skip: the fraction of them, from the noisiest on,
        that is left out, 0 to less than 1; with more, less of the picture can change.
        noise: (steps taken, 4, h, w) standard normal noise, of the noisiest latents first, instead
        of the seed's.
        edits: those that are to follow. What ``edit`` would refuse of them is refused now, before
        the inversion is computed; they change nothing else.
        options: those of ``submit`` that say what else the factor sees: an image is inverted with
        the map of ``factors={"segmentation": {"map": ...}}``, or without one
        (``factors={"segmentation": None}``).
        step_callback: as of ``submit``.

        Raises RequestError at once for an argument that isn't allowed, with what is, and
        QueueFullError when `max_queue` requests are waiting.
        """
        if (image is None) == (map is None):
            raise RequestError("give an image or a map to invert, one of the two")
        taken: dict[str, Any] = dict(options)
        if map is None:
            factor = factor or self._factors[-1]
            shape = request.read("image", image, values.host_picture)
            taken["image"] = shape
        else:
            factor = factor or self._main_factor()
            shape = values.labels_or_picture("map", map)
            named = dict(taken.get("factors") or {})
            given = named.get(factor)
            named[factor] = {**(given or {}), "map": shape}
            taken["factors"] = named
        for side, pixels in self._image_size(factor, shape).items():
            if taken.get(side) is None:
                taken[side] = pixels
        settings = {
            "factor": values.text("factor", factor),
            "prompt": values.text("prompt of the inversion", prompt),
            "negative_prompt": values.text("negative_prompt of the inversion", negative_prompt),
            "guidance_scale": values.required_real(
                "guidance_scale of the inversion", guidance_scale
            ),
            "sampler": values.text("sampler of the inversion", sampler),
            "eta": values.required_real("eta of the inversion", eta),
            "timestep_spacing": None
            if timestep_spacing is None
            else values.text("timestep_spacing of the inversion", timestep_spacing),
            "num_inference_steps": values.required_integer("steps of the inversion", steps),
            "skip": values.required_real("skip of the inversion", skip),
        }
        channels = int(self._manifest["autoencoder"]["latent_channels"])

        def inversion(core: _core.Result) -> Inversion:
            assert core.inversion is not None
            return Inversion.from_core(core.inversion, channels)

        editing: dict[str, object] = {
            "settings": settings,
            "noise": None if noise is None else values.host_array("noise", noise),
            "edits": [] if edits is None else edits_to_core(edits),
        }
        return self._submit("", taken, inversion, editing, step_callback=step_callback)

    invert = completed(
        submit_inversion,
        "invert",
        """Takes a picture or a map back into noise, from where ``edit`` changes it.

        Takes the parameters of ``submit_inversion`` and waits. Ctrl-C cancels the request before
        KeyboardInterrupt passes on.
        """,
    )

    def submit_edit(
        self,
        inversion: Inversion,
        edits: Sequence[Edit],
        prompt: str = "",
        *,
        keep: bool = True,
        step_callback: StepCallback | None = None,
        map_callback: MapCallback | None = None,
        **options: Unpack[RequestOptions],
    ) -> Job[Result]:
        """Queues an edit and returns at once; see Job (LEDITS++; FG-DM, section 4).

        inversion: what ``invert`` returned, of this bundle. edits: 1 to 8 at once; see Edit. Each
        takes a row of the backbone's batch in the steps that have it, beside one of the inversion's
        own (two where it is guided).
        Of a map, the edited map is the result's, and the image is painted from it as always: prompt
        says what it shows, and what the map's recall counts. Of an image, the result's image is the
        edited one; it sees the request's other factors, which may differ from those that it was
        inverted with.
        keep: whether all that no edit acts on stays: the latents there are those of the inversion
        after every step, and their pixels the inverted picture's. An edit with a region or a mask
        may change the cells of it, another those that its threshold has let it act on up to then.
        False: LEDITS++ as published, whose later steps see what changed and may change the rest.
        options: those of ``submit``, but for how the edited factor is sampled, which the inversion
        says; callbacks likewise.

        Raises RequestError at once for an argument that isn't allowed, with what is, such as an
        inversion of another bundle, and QueueFullError when `max_queue` requests are waiting. An
        edit on a GPU is guided on the host.
        """
        if not isinstance(inversion, Inversion):
            raise RequestError(
                f"inversion must be what Engine.invert returned, got {values.shown(inversion)}"
            )
        editing = {
            "inversion": inversion.to_core(),
            "edits": edits_to_core(edits),
            "keep": flag("keep", keep),
        }
        taken: dict[str, Any] = {"height": inversion.height, "width": inversion.width}
        taken |= {name: value for name, value in options.items() if value is not None}
        return self._submit(
            prompt,
            taken,
            self._result_of(prompt, taken),
            editing,
            step_callback=step_callback,
            map_callback=map_callback,
        )

    edit = completed(
        submit_edit,
        "edit",
        """Changes a picture or a map that was inverted, as words say.

        Takes the parameters of ``submit_edit`` and waits. Ctrl-C cancels the request before
        KeyboardInterrupt passes on.
        """,
    )

    def submit_paste(
        self,
        inversion: Inversion,
        edited: Result,
        image: Picture,
        prompt: str = "",
        *,
        seam: int | None = None,
        strength: float = 0.6,
        step_callback: StepCallback | None = None,
        **options: Any,
    ) -> Job[Result]:
        """Queues the third way of editing a picture (FG-DM, section 4), and returns at once.

        What an edit of the picture's map brought anew is cut out of the image that was painted from
        the edited map, and put onto the picture. The seam around it is then noised and sampled
        again, with the edited map; all other pixels are those of `image` and of the cut.

        inversion: of the picture's map. edited: what ``edit`` made of it. image: the picture, of
        the size of the edited one. seam: pixels on each side of the border, 1 to 64; None: a
        sixteenth of the shorter side. strength: of the noise on the seam, 0 to 1. prompt,
        options, step_callback: as of ``submit``; its maps are those of `edited`, but for what
        options' factors say.

        Raises RequestError at once for an argument that isn't allowed, for an edit that left the
        map as it was, and QueueFullError when `max_queue` requests are waiting.
        """
        if not isinstance(inversion, Inversion) or inversion.factor not in edited.factors:
            raise RequestError(
                "edited must be the result of an edit of a map, and inversion that map's; edit "
                "Engine.invert(map=...)"
            )
        picture = request.read("image", image, values.host_picture)
        painted = np.asarray(edited.image)
        if picture.shape != painted.shape:
            raise RequestError(
                f"image has the shape {picture.shape}, but the edited one {painted.shape}; "
                "give the picture whose map was edited"
            )
        changed = changed_pixels(
            np.asarray(inversion.picture),
            np.asarray(edited.factors[inversion.factor].map),
            painted.shape[:2],
        )
        if seam is not None:
            seam = values.required_integer("seam", seam)
        taken: dict[str, Any] = {
            **options,
            "image": pasted(picture, painted, changed),
            "mask": seam_around(changed, seam),
            "strength": values.required_real("strength", strength),
            "height": painted.shape[0],
            "width": painted.shape[1],
        }
        maps: dict[str, Any] = {
            name: {"map": np.asarray(one.map)} for name, one in edited.factors.items()
        }
        given = options.get("factors") or {}
        for name, chosen in given.items():
            has_map = name in maps and chosen is not None
            maps[name] = {**maps[name], **chosen} if has_map else chosen
        taken["factors"] = maps
        return self._submit(
            prompt, taken, self._result_of(prompt, taken), step_callback=step_callback
        )

    paste = completed(
        submit_paste,
        "paste",
        """Puts what an edited map brought anew onto the picture whose map it was.

        Takes the parameters of ``submit_paste`` and waits. Ctrl-C cancels the request before
        KeyboardInterrupt passes on.
        """,
    )

    @property
    def has_segmenter(self) -> bool:
        """Whether the bundle has a segmenter, with which `segment` reads maps from pictures."""
        return self._manifest.get("segmenter") is not None

    def need_segmenter(self, need: str) -> SegmenterScorer:
        """The bundle's segmenter, loaded when it is first asked for.

        need: what it would do, and what there is instead, to be told. Raises RequestError where the
        bundle has none, BackendError where onnxruntime isn't installed or it can't be loaded.
        """
        if not self.has_segmenter:
            raise RequestError(
                f"this bundle has no segmenter that could {need}, or add one: fgdm export "
                "--add-segmenter FILE --into BUNDLE"
            )
        core = self._open()
        if self._segmenter is None:
            graph = self._manifest["graphs"][self._manifest["segmenter"]]
            self._segmenter = extras.load("fgdm.scorers", "cpu").SegmenterScorer(
                core.bundle_file(graph["file"]), self.palette, threads=self._threads
            )
        return self._segmenter

    def segment(self, image: Picture) -> npt.NDArray[np.uint8]:
        """The map of a picture as the bundle's segmenter sees it, to invert and edit.

        image: a picture of a size that the bundle can paint. Returns uint8 (h, w), class indices of
        the last factor that makes labels, of the size of its map for such a picture. Python's
        onnxruntime runs the graph, on the processor.

        Raises RequestError where the bundle has no segmenter, BackendError where onnxruntime isn't
        installed or the graph fails.
        """
        segmenter = self.need_segmenter("read the picture's map; give the map")
        picture = request.read("image", image, values.host_picture)
        labels = segmenter.labels(Image.fromarray(picture))
        name, painted = self._main_factor(), self._manifest["factors"][-1]
        (spec,) = (each for each in self._manifest["factors"] if each["name"] == name)
        height = picture.shape[0] * spec["height"] // painted["height"]
        width = picture.shape[1] * spec["width"] // painted["width"]
        if labels.shape == (height, width):
            return labels
        rows = np.arange(height) * labels.shape[0] // height
        columns = np.arange(width) * labels.shape[1] // width
        resized: npt.NDArray[np.uint8] = labels[rows[:, None], columns]
        return resized

    def score(self, image: Picture, prompt: str, requirements: Requirements) -> Score:
        """Whether a picture holds what was asked for, as the bundle's segmenter sees it: a scorer
        for ``fgdm.repaint``.

        image: a picture of a size that the bundle can paint. prompt: isn't read. requirements: a
        dictionary as ``submit`` takes it, such as ``find_requirements(prompt).requirements``. The
        picture's labels go through ``fgdm.check_map`` with its own defaults, whatever a request
        says of its maps: a thing is there from 0.2 % of the picture on.

        Raises RequestError where the bundle has no segmenter and for requirements that can't be
        read, BackendError where onnxruntime isn't installed or the graph fails.
        """
        segmenter = self.need_segmenter("check the picture; give a scorer (fgdm.scorers)")
        picture = request.read("image", image, values.host_picture)
        return segmenter(Image.fromarray(picture), prompt, requirements)

    def _image_size(self, factor: str, picture: Any) -> dict[str, int]:
        """Of a request whose factor has a picture of that size."""
        image = self._manifest["factors"][-1]
        for spec in self._manifest["factors"]:
            if spec["name"] == factor:
                sides = zip(("height", "width"), picture.shape[:2], strict=True)
                return {side: pixels * image[side] // spec[side] for side, pixels in sides}
        return {}  # the core says what there is

    def _main_factor(self) -> str:
        labels = [spec for spec in self._manifest["factors"] if spec.get("palette")]
        if not labels:
            raise RequestError(
                "map is given, but no factor of this bundle makes labels; say whose map it is with "
                "factor"
            )
        return str(labels[-1]["name"])
