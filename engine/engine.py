"""The engine: a bundle goes in, requests become pictures. A thin, typed layer over the C++ core."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import fgdm._core as _core  # noqa: PLR0402 (absent, it must be named in the ImportError)
from fgdm import __version__, open_engines, values
from fgdm.editing import Editor
from fgdm.errors import RequestError
from fgdm.job import Job, MapCallback, StepCallback, complete
from fgdm.libraries import find_libraries
from fgdm.requirements import (
    Filters,
    PromptObjects,
    PromptRequirements,
    as_filters,
    flag,
)
from fgdm.result import EngineInfo, Result

if TYPE_CHECKING:
    from fgdm.request import RequestOptions
    from fgdm.values import SupportsCudaStream
    from fgdm.watermark import Watermark
    from typing_extensions import Buffer, Unpack

#: Version of the JSON that Engine.profile returns.
PROFILE_SCHEMA = 1


class Engine(Editor):
    """A loaded bundle, which works on many requests at once. Any thread may use it.

    Rows of all requests share backbone batches, whatever step they are at; what a request results
    in doesn't depend on its company.

    bundle: a folder with a manifest.json, as ``fgdm export`` writes it; or what ``fgdm pack`` made
    of one, an archive's path, or its content as bytes, a memoryview or another object with a
    buffer, which is used where it lies, mustn't be changed, and is kept as long as it is needed
    (docs/bundles.md).
    backend: "auto" (the bundle's plans if they fit, then CUDA, OpenVINO and CPU, as installed),
    "cpu", "openvino", "cuda", "tensorrt", "tensorrt-rtx" or "webgpu" (docs/runtimes.md).
    device: which GPU, as the runtime counts them; 0 is the first.
    precision: "auto", "fp32", "bf16" or "fp16", the arithmetic of the networks.
    threads: of the runtime, at most eight a processor; 0 lets it choose. library: path of
    libonnxruntime, or of libnvinfer for "tensorrt"; "" takes the one that $FGDM_ONNXRUNTIME or
    $FGDM_TENSORRT names, else that of the installed wheel, else the system's.
    max_batch_rows: rows of one backbone call, 2 or more.
    max_queue: requests that may wait; one more is refused. max_active: worked on at a time.
    policy: "latency" (pictures before maps) or "throughput" (the fullest batch first).
    profile: a file of ``fgdm profile``; "" takes the bundle's plans/profile.json, if it is there.
    trace: a file to write a timeline to, for Perfetto (ui.perfetto.dev); "" writes none.
    forbid: as in ``submit``, of every request, whatever it says; where an entry has no min_area,
    from the bundle's min_area on.
    watermark: a text of 1 to 12 bytes that every result's image carries invisibly (fgdm.watermark,
    which takes 0.4 s of a core for 256x256 pixels); requests for fewer than 256x256 pixels are
    refused then, and one whose picture can't carry it fails. "" marks nothing.

    memory: "full" keeps every graph loaded, with its weights unpacked. "low", of backend "cpu" with
    ONNX Runtime 1.27 or newer, loads the graphs of one factor at a time and leaves large float16
    weights packed in their files (docs/memory.md).
    attention: what runs ``fgdm::SegFreeAttention``: "kernel" is fgdm's, of backends "cpu" (float32
    graphs) and "cuda"; "standard" are the standard ops of the graphs' own function; "auto" is the
    kernel on "cuda", if it is there, and standard ops on a processor (docs/runtimes.md).
    contexts: where compiled contexts are kept, with which "openvino" and "tensorrt-rtx" needn't
    compile the bundle's graphs again: a folder, "bundle" (its folder contexts), or "off". "auto" is
    the bundle for "tensorrt-rtx", else "off" (docs/runtimes.md#compiled-contexts). `notes` tell why
    one was made anew, or couldn't be kept.
    stream: a CUDA stream of the caller's on the GPU `device`, on which backends "cuda" and
    "tensorrt" queue their work: an object with ``__cuda_stream__`` (of cuda.core, CuPy, PyTorch),
    or the address of a cudaStream_t, which must outlive the engine. 0: the engine's own.

    Close it, or use it in a ``with`` statement; one that is open when the interpreter exits is
    closed then. From within a callback of its own, what would wait for that callback raises
    RequestError (docs/embedding.md). In a forked child an engine of the parent raises RequestError:
    open one in the child.

    Raises BundleError for a missing, damaged or newer bundle, RequestError for an unknown backend
    or precision, and while the interpreter exits, BackendError where the runtime is missing or
    can't do what was asked.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] | Buffer,
        *,
        backend: str = "auto",
        device: int = 0,
        precision: str = "auto",
        threads: int = 0,
        library: str | os.PathLike[str] = "",
        max_batch_rows: int = 32,
        max_queue: int = 256,
        max_active: int = 16,
        policy: str = "latency",
        profile: str | os.PathLike[str] = "",
        trace: str | os.PathLike[str] = "",
        forbid: Filters = (),
        watermark: str = "",
        memory: str = "full",
        attention: str = "auto",
        contexts: str | os.PathLike[str] = "auto",
        stream: SupportsCudaStream | int = 0,
    ) -> None:
        self.watermark = _watermark(values.text("watermark", watermark))
        opened = values.path_or_bytes("bundle", bundle)
        options: dict[str, Any] = {
            "backend": values.text("backend", backend),
            "device": values.required_integer("device", device),
            "precision": values.text("precision", precision),
            "threads": values.required_integer("threads", threads),
            "max_batch_rows": values.required_integer("max_batch_rows", max_batch_rows),
            "max_queue": values.required_integer("max_queue", max_queue),
            "max_active": values.required_integer("max_active", max_active),
            "policy": values.text("policy", policy),
            "profile": values.path("profile", profile),
            "trace": values.path("trace", trace),
            "forbid": as_filters("forbid", forbid),
            "memory": values.text("memory", memory),
            "attention": values.text("attention", attention),
            "contexts": values.path("contexts", contexts),
            "stream": values.cuda_stream("stream", stream),
        }
        self._threads = options["threads"]
        self._stream = stream  # whose object may end it with itself
        options |= find_libraries(backend, values.path("library", library))
        with open_engines.call():
            self._engine = _core.Engine(opened, **options)
            open_engines.add(self)
        self._manifest = json.loads(self._engine.manifest)
        self._factors = [str(factor["name"]) for factor in self._manifest["factors"]]
        self._palette_json = self._read_palette()
        palette = json.loads(self._palette_json or '{"classes": []}')
        self._colors = {entry["name"]: tuple(entry["color"]) for entry in palette["classes"]}
        self.info = EngineInfo(
            version=__version__,
            bundle=str(self._manifest["name"]),
            backend=self._engine.backend,
            precision=self._engine.precision,
            runtime=self._engine.runtime,
        )

    @property
    def manifest(self) -> dict[str, Any]:
        """The bundle's manifest.json as parsed."""
        return self._manifest

    @property
    def palette(self) -> dict[str, Any] | None:
        """The palette of the last factor that makes labels, as its file has it (docs/bundles.md):
        name, tolerance, and classes with their colours. None where no factor makes labels."""
        return None if self._palette_json is None else json.loads(self._palette_json)

    @property
    def classes(self) -> list[str]:
        """What maps can hold, in the palette's words; none where no factor makes labels."""
        return list(self._colors)

    @property
    def attention(self) -> str:
        """What ``fgdm::SegFreeAttention`` is run by: fgdm's kernel ("avx512", "avx2", "sse2",
        "neon", "plain" or "cuda"), "plan" for what plans were built with, or "standard" ops."""
        return self._open().attention

    @property
    def dlpack_device(self) -> tuple[int, int]:
        """Where arrays are read without a copy, and results stay with keep_on_device, as DLPack
        says it: (1, 0) is the host, (2, n) NVIDIA's GPU n."""
        return self._open().dlpack_device

    @property
    def load_seconds(self) -> float:
        """How long the core took to check and load the bundle."""
        return self._open().load_seconds

    @property
    def notes(self) -> list[str]:
        """What "auto" passed over, or runs slower than it could, and why; compiled contexts that
        were made anew, or can't be kept; factors whose number of steps and spacing are known to be
        bad."""
        return self._open().notes

    def find_objects(self, prompt: str) -> PromptObjects:
        """What `prompt` asks for, in the palette's words; see PromptObjects.

        Raises RequestError for a bundle without a factor that makes labels.
        """
        palette = self._palette()
        with open_engines.call():
            found = _core.find_objects(palette, values.text("prompt", prompt))
        return PromptObjects(*found)

    def find_requirements(self, prompt: str, articles_count: bool = False) -> PromptRequirements:
        """What `prompt` asks for beside its classes: counts, places, what shall be absent, colours.

        articles_count: whether "a dog" is exactly one. Raises RequestError for a bundle without a
        factor that makes labels.
        """
        palette = self._palette()
        with open_engines.call():
            text, unread = _core.find_requirements(
                palette, values.text("prompt", prompt), flag("articles_count", articles_count)
            )
        return PromptRequirements(json.loads(text), unread)

    def generate(
        self,
        prompt: str,
        *,
        step_callback: StepCallback | None = None,
        map_callback: MapCallback | None = None,
        **options: Unpack[RequestOptions],
    ) -> Result:
        """Samples maps, keeps the one with the best recall, and paints it.

        Takes the parameters of ``submit`` and waits. Ctrl-C cancels the request before
        KeyboardInterrupt passes on.
        """
        return complete(
            self.submit(prompt, step_callback=step_callback, map_callback=map_callback, **options)
        )

    def submit(
        self,
        prompt: str,
        *,
        step_callback: StepCallback | None = None,
        map_callback: MapCallback | None = None,
        **options: Unpack[RequestOptions],
    ) -> Job:
        """Queues a request and returns at once; see Job for how to wait, await and cancel.

        Options that aren't given, or None, take the bundle's defaults.

        prompt: text of at most 32,768 bytes in UTF-8. What lies beyond the text encoder's length is
        told in Result.truncated; what the prompt excludes ("without trees") isn't requested.
        negative_prompt: what to steer away from. objects: the classes that recall counts, by any
        name the palette knows; without them, those that the prompt names.
        candidates: how many maps to sample at most; the bundle's stop_at_recall may end it sooner.
        seed: 0 to 2^64 - 1; None draws one and reports it.
        condition_steps, num_inference_steps: sampling steps of the maps and of the image; which
        numbers have timesteps depends on the bundle's noise schedule and the sampler (1 to 332
        have in the usual ones).
        guidance: of the image, "segfree" (segmentation-free from `segfree_start` on) or "cfg".
        guidance_scale, condition_guidance_scale: g in ε = ε_neg + g (ε_pos - ε_neg), of the image
        and of the maps; the papers' w is g - 1. Up to 1 there is no guidance, as in diffusers.
        segfree_scale: a; the strongest token of each patch is weighted by -a in the negative
        branch. segfree_guidance_scale: g of those steps. segfree_start: the fraction of the steps
        before them, 0 to 1 (segmentation-free guidance paper, section 3).
        guidance_interval, condition_guidance_interval: (start, stop), the fractions of the steps
        in which there is guidance; the others cost half.
        controlnet_conditioning_scale: weight of what the image is painted from; one for each
        network that sees a map or control image, or one for all.
        loras: weights of the bundle's LoRAs by name, such as {"style": 0.8}, -100 to 100; those
        that aren't named have none. Each changes the factors that the bundle says
        (docs/checkpoints.md); requests of different LoRAs share batches.
        sampler, condition_sampler: of the image and of the maps, "ddim", "dpmsolver++",
        "dpmsolver++_sde", "euler", "euler_ancestral", "unipc", "lcm" or "tcd" (docs/samplers.md).
        timestep_spacing, condition_timestep_spacing: which timesteps are visited, "leading",
        "trailing" or "linspace", or which noise levels, "karras" or "exponential"; few steps want
        "trailing".
        cache_interval, cache_level: of so many image steps, 1 to 1000, the first goes through the
        whole backbone, the others through its outer levels alone, 1 or 2 of them, with the features
        that it made of the levels below (DeepCache, docs/samplers.md). 1: all take the whole.
        min_area: the fraction of a map, 0 to 1, from which on a class counts as found: what is too
        small would not be painted.
        height, width: of the image in pixels; maps have half of each.
        latents: (1, 4, h, w), or (candidates, 4, h, w) of a joint image; condition_latents:
        (candidates, 4, h, w); arrays or tensors: the noise to start from instead of the
        seed's; h and w are latent cells.
        control_images: what networks of the image factor paint from that no factor of the bundle
        makes, by condition: RGB pictures, or (height, width, 3) uint8, of the image's size.
        Arrays may be of any library that has DLPack's methods. image, control_images and latents
        that lie on the engine's own GPU are read there (docs/arrays.md).

        factors: options of single condition factors by name, in place of those for all: prompt,
        negative_prompt, objects, candidates (default of a factor that makes pictures: 1),
        condition_steps, sampler, timestep_spacing, cache_interval, cache_level, guidance_scale,
        guidance_interval, prune, stop_at_recall, min_area, wave, latents. map: the factor's map, of
        its size, taken as it is and measured like a candidate: a picture (labels: the nearest
        colours of the palette), or uint8 (h, w) class indices. With strength, 0 to 1, the map is
        noised and sampled again over that fraction of the steps. None in place of the options
        leaves the factor out (null condition); naming an optional factor, {} will do, samples it.
        joint: factors that are sampled together: in every step each takes its turn and sees what
        those before it have become (FG-DM, equations 4 to 6). The image may be among them: then
        every candidate has an image of its own, num_inference_steps equals condition_steps, and the
        chosen candidate's image is the result. joint_refresh: the steps, 1 to 1000 (default: 4),
        after which ControlNets and T2I-Adapters of joint factors see anew what the maps of others
        are about to become.
        image: a picture of the image's size to begin with instead of noise, noised to `strength`,
        0 to 1 (0.8; with a mask 1), as diffusers' img2img. mask: where it is painted anew: what is
        transparent in a picture with alpha, white in another, true in an array; everything else
        stays to the bit. Pictures are taken as their pixels are, whatever orientation EXIF says.

        prune: map steps after which the worse half of the candidates is dropped, by the recall of
        what they are about to become; ascending, such as [3, 6] of 10.
        stop_at_recall: with which a candidate has won, so that no other needs to be finished, 0 to
        1; 0 samples every candidate to its end. Without prune, the kept map's recall reaches it
        whenever it would if all were finished. wave: candidates sampled at a time until one has
        won; 0 samples all at once; by default the bundle's number, where maps may stop early and
        none is pruned.
        select: "recall", or "compliance": of the maps with the highest recall the one that meets
        most requirements. Or a function, which chooses: it gets a list of the Candidates that were
        sampled to their end and may be painted, one or more, and returns the place of one in it, or
        a number for each, the largest of which chooses. It is called on the engine's thread, where
        all requests wait for it; what it raises ends its request alone, as does an answer that is
        neither (RequestError). Then nothing stops early: no stop_at_recall is allowed.
        stop_at_compliance: with "compliance" in place of stop_at_recall, whose value it has by
        default: the share of requirements with which a candidate has won.
        requirements: {"objects": ["sun", {"class": "dog", "count": 2}, {"class": "tree",
        "at_least": 2}, {"class": "house", "color": "red"}], "relations": [{"subject": "dog",
        "relation": "left of", "object": "house"}], "absent": ["person"]}, in place of what the
        prompt says, and not together with objects; "attributes" lists those of the palette.
        Relations: left of, right of, above, below, on, under, beside, in front of, behind, and
        between, whose object is a list of two. An end may say how many, and which of several:
        {"class": "dog", "count": 2, "which": 2}. Or a
        Reading of fgdm.llm, which Result.reading tells again.
        articles_count: whether "a dog" in the prompt is exactly one. instance_opening: pixels of
        the map, 0 to 64, by which classes are opened before their instances are counted, so that
        touching ones come apart. docs/compliance.md says how each is read and checked.
        forbid: classes that must not be painted, such as ["person", {"classes": ["dog", "cat"],
        "min_area": 0.01}]: a map on which all classes of an entry have that area (of the map;
        default: the request's min_area) is refused. Where every map is, the request fails with
        RequestError before an image is sampled.
        keep_on_device: leaves the image and its latents where the engine's networks made them:
        Result.image_device and latents_device, which outlive the engine. Result.image is then
        copied to the host when it is first read.
        priority: -1000 to 1000, larger goes first. deadline: seconds from now, after which the
        request fails with DeadlineError.
        step_callback: called on the engine's thread after every step with a StepInfo, which is
        valid during the call; returning True stops the request (CancelledError). All requests wait
        for it. map_callback: likewise, with a MapInfo of every map that was looked at, given or
        chosen.

        Raises RequestError at once for an argument that isn't allowed, with what is, and
        QueueFullError when `max_queue` requests are waiting.
        """
        return self._submit(
            prompt,
            dict(options),
            self._result_of(prompt, options),
            step_callback=step_callback,
            map_callback=map_callback,
        )

    def metrics(self) -> dict[str, Any]:
        """What the engine has done since it was opened.

        accepted, finished, failed, cancelled, refused (queue full), queued and active (now):
        requests. batches, rows: of the backbone. batches_of_rows: batches by their rows.
        waiting_rows: that could be in a batch now, were there room for all: of active requests, and
        what those that are queued begin with. padding: rows computed besides, to fill up the
        batch of a TensorRT plan. rows_saved: of maps that were dropped or never begun, and of their
        joint images.
        candidates_failed: maps whose latent or picture was not finite.
        context_hits, context_misses: prompts found encoded, and encoded. retries: batches run
        again after a failure, most of them in parts. queue_seconds: waited by all requests before
        work on them began. session_seconds: by stage.
        """
        return self._open().metrics()

    def profile(
        self,
        rows: Sequence[int],
        repeats: int = 3,
        image_sizes: Sequence[tuple[int | None, int | None]] = ((None, None),),
    ) -> dict[str, Any]:
        """Measures batches of so many rows (1 to max_batch_rows) at the sizes of maps and images.

        image_sizes: heights and widths of images, in pixels; None is the bundle's. Where maps of
        one size are as large as images of another, the images are what counts. Numbers of rows for
        which there is no memory are left out. Requests wait meanwhile.
        Returns what ``fgdm profile`` stores in plans/profile.json.

        Ctrl-C interrupts it after the batch that runs. Raises RequestError for a size or number
        that isn't allowed, OutOfMemoryError if even the fewest rows find no memory.
        """
        counts = values.integers("rows", rows)
        repeats = values.required_integer("repeats", repeats)
        measured: dict[tuple[int, int, str], dict[int, float]] = {}
        for size in values.image_sizes("image_sizes", image_sizes):
            with open_engines.call():
                *maps, image = self._open().measure_batches(counts, repeats, *size)
            for height, width, backbone, seconds in maps:
                measured.setdefault((height, width, backbone), seconds)
            height, width, backbone, seconds = image
            measured[height, width, backbone] = seconds
        return {
            "schema": PROFILE_SCHEMA,
            "profiles": {
                self._open().profile_key: [
                    {
                        "latent_height": height,
                        "latent_width": width,
                        **({"backbone": backbone} if backbone else {}),
                        "seconds": {str(count): value for count, value in seconds.items()},
                    }
                    for (height, width, backbone), seconds in measured.items()
                ]
            },
        }

    def close(self) -> None:
        """Cancels what is queued or running, waits for it, and gives the networks back.

        May be called twice. From within a callback of its own it doesn't wait. Warns
        (RuntimeWarning) of a trace that couldn't be written.
        """
        engine, self._engine = self._engine, None
        if engine is not None:
            open_engines.discard(self)
            problem = engine.trace_problem
            engine.close()
            if problem:
                warnings.warn(problem, RuntimeWarning, stacklevel=2)

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _read_palette(self) -> str | None:
        """The palette of the last factor that makes labels, which the core has checked; None where
        no factor does."""
        palettes = [entry["palette"] for entry in self._manifest["factors"] if entry.get("palette")]
        return self._open().bundle_file(palettes[-1]).decode() if palettes else None

    def _palette(self) -> str:
        if self._palette_json is None:
            raise RequestError(
                f"the bundle {self.info.bundle} has no factor that makes labels, so it has no "
                "palette whose classes a prompt could name"
            )
        return self._palette_json


def _watermark(text: str) -> Watermark | None:
    if not text:
        return None
    from fgdm.watermark import Watermark  # noqa: PLC0415 (an extra's, for those who mark)

    return Watermark(text)
