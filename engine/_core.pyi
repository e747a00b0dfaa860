"""The compiled core (pybind11, sources in cpp/bindings). `fgdm.Engine` is what users call."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from fgdm.errors import BackendError as BackendError
from fgdm.errors import BundleError as BundleError
from fgdm.errors import CancelledError as CancelledError
from fgdm.errors import DeadlineError as DeadlineError
from fgdm.errors import Error as Error
from fgdm.errors import OutOfMemoryError as OutOfMemoryError
from fgdm.errors import QueueFullError as QueueFullError
from fgdm.errors import RequestError as RequestError
from typing_extensions import CapsuleType

class Tokenizer:
    """CLIP's byte-pair tokenizer. `encode` pads to `max_length`; BundleError for damaged files."""

    def __init__(self, folder: str, max_length: int) -> None: ...
    def encode(self, text: str) -> list[int]: ...
    def tokenize(self, text: str) -> list[str]: ...

class NoiseSchedule:
    """The samplers' numbers for a manifest's text (BundleError); samplers and spacings as in
    requests, without a spacing the manifest's for the sampler."""

    def __init__(self, manifest_json: str) -> None: ...
    def alphas_cumprod(self) -> list[float]:
        """One for each training timestep, descending."""

    def timesteps(
        self, sampler: str, num_inference_steps: int, spacing: str | None = None
    ) -> list[float]:
        """Those that are visited, descending; RequestError if there are no such. Whole numbers, but
        for Euler's samplers."""

    def coefficients(
        self, sampler: str, num_inference_steps: int, spacing: str | None = None
    ) -> list[list[float]]:
        """For each step a, b, c, d, e, f, g, h of x0 = a x + b m; x = c x + d m + e x0 + f (the x0
        of the step before) + g (that of the one before it) + h z, where m is the model's output
        and z standard normal noise."""

    def initial_scale(
        self, sampler: str, num_inference_steps: int, spacing: str | None = None
    ) -> float:
        """What the noise is multiplied by that sampling begins with."""

    def known_weakness(
        self, sampler: str, num_inference_steps: int, spacing: str | None = None
    ) -> str:
        """What is known to be bad about so many steps, such as that they begin far from the noise
        that they are given; "" for a sound combination."""

def normal_noise(
    seed: int, candidate: int, factor: int, draw: int, size: int
) -> npt.NDArray[np.float32]:
    """The noise of a candidate of the factor in that place of the chain: draw 0 is what sampling
    begins with, n + 1 that of step n of a stochastic sampler."""

class DeviceArray:
    """A dense row-major array in the memory of the host or of a GPU, which stays as long as this or
    anything that was made of it by DLPack, whatever became of the engine. Who writes to it through
    another library changes what this gives later."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str:
        """Such as "uint8" or "float32"."""

    @property
    def device(self) -> tuple[int, int]:
        """As DLPack says it: (1, 0) is the host, (2, n) NVIDIA's GPU n."""

    def numpy(self) -> npt.NDArray[Any]:
        """A copy on the host. bfloat16, which numpy lacks, as uint16."""

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> CapsuleType:
        """As the array API standard says. stream: of a GPU, the consumer's, which will wait until
        the array is written: None or 1 is CUDA's legacy default stream, 2 the thread's, -1 none,
        others are a cudaStream_t. dl_device: its own, or (1, 0), for which it is copied.

        BufferError for another device, ValueError for stream 0, for a stream of an array on the
        host, and for copy=False where a copy is needed.
        """

    def __dlpack_device__(self) -> tuple[int, int]: ...

class StepInfo:
    """What a step callback sees after a step of a factor; ValueError once the call is over."""

    @property
    def factor(self) -> str: ...
    @property
    def step(self) -> int:
        """The step just finished, 0-based."""

    @property
    def num_steps(self) -> int: ...
    @property
    def timestep(self) -> float:
        """The step's timestep of the noise schedule, 0 to 999; a whole number, but for Euler's
        samplers."""

    @property
    def candidates(self) -> list[int]:
        """Which candidates took this step, by index; [0] for an image that is not joint."""

    def predicted_x0(self) -> npt.NDArray[np.float32]:
        """A copy of the predicted clean latents, (candidates, channels, h, w)."""

    def preview(self, candidate: int | None = None) -> npt.NDArray[np.uint8]:
        """A candidate's predicted_x0 (without an index, that of the first one that took this step)
        as a picture, RGB (height, width, 3), by the bundle's preview decoder if it has one, else by
        its full decoder. RequestError for a candidate that didn't take this step."""

class Candidate:
    @property
    def index(self) -> int: ...
    @property
    def seed(self) -> int:
        """The request's; with the index it determines the map's noise."""

    @property
    def recall(self) -> float: ...
    @property
    def found(self) -> list[str]: ...
    @property
    def missing(self) -> list[str]: ...
    @property
    def smallest_area(self) -> float: ...
    @property
    def map(self) -> npt.NDArray[np.uint8]:
        """RGB, (h, w, 3); of a factor that makes labels in palette colours."""

    @property
    def labels(self) -> npt.NDArray[np.uint8]:
        """Class indices, (h, w); 255 is unlabeled. (0, 0) of a factor that makes pictures."""

    @property
    def steps(self) -> int: ...
    @property
    def pruned(self) -> bool: ...
    @property
    def failed(self) -> bool: ...
    @property
    def met(self) -> list[bool | None]:
        """Of each requirement of the factor; None where a map can't say."""

    @property
    def compliance(self) -> float: ...
    @property
    def refused(self) -> str:
        """What it holds that must not be painted."""

class FactorResult:
    @property
    def candidates(self) -> list[Candidate]: ...
    @property
    def chosen(self) -> int: ...
    @property
    def given(self) -> bool: ...
    @property
    def requested(self) -> list[str]: ...
    @property
    def excluded(self) -> list[str]: ...
    @property
    def requirements(self) -> list[tuple[str, str]]:
        """Kind and text of each."""

    @property
    def not_understood(self) -> list[str]: ...
    @property
    def unknown_pixels(self) -> int: ...
    @property
    def truncated(self) -> str: ...
    @property
    def negative_truncated(self) -> str: ...
    @property
    def timings(self) -> dict[str, float]: ...

class Inversion:
    """A picture that was taken back into noise. `settings`: those of fgdm.Inversion, steps as
    num_inference_steps. An engine checks that all fits together."""

    def __init__(
        self,
        *,
        settings: dict[str, Any],
        bundle: str,
        height: int,
        width: int,
        picture: npt.NDArray[np.uint8],
        latents: npt.NDArray[np.float32],
        remainders: npt.NDArray[np.float32],
        visited: npt.NDArray[np.float32],
    ) -> None: ...
    @property
    def settings(self) -> dict[str, Any]: ...
    @property
    def bundle(self) -> str: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def picture(self) -> npt.NDArray[np.uint8]:
        """RGB, (h, w, 3)."""

    @property
    def latents(self) -> npt.NDArray[np.float32]:
        """All numbers, in a row; so the others."""

    @property
    def remainders(self) -> npt.NDArray[np.float32]: ...
    @property
    def visited(self) -> npt.NDArray[np.float32]: ...

class Result:
    @property
    def image(self) -> npt.NDArray[np.uint8]:
        """RGB, (H, W, 3); (0, 0) of a request with keep_on_device."""

    @property
    def image_on_device(self) -> DeviceArray | None:
        """Of such a request, uint8 (H, W, 3)."""

    @property
    def latents_on_device(self) -> DeviceArray | None:
        """Likewise float32 (1, C, h, w)."""

    @property
    def factors(self) -> dict[str, FactorResult]:
        """Of condition factors that weren't left out."""

    @property
    def requested(self) -> list[str]: ...
    @property
    def excluded(self) -> list[str]: ...
    @property
    def requirements(self) -> list[tuple[str, str]]:
        """Kind and text of each."""

    @property
    def not_understood(self) -> list[str]: ...
    @property
    def unread(self) -> list[str]:
        """Classes that are named only in `truncated`."""

    @property
    def unrecognized(self) -> list[str]: ...
    @property
    def unrecognized_omitted(self) -> int: ...
    @property
    def truncated(self) -> str:
        """The end of the prompt that the text encoder doesn't read."""

    @property
    def negative_truncated(self) -> str: ...
    @property
    def chosen(self) -> int: ...
    @property
    def candidates(self) -> list[Candidate]: ...
    @property
    def seed(self) -> int: ...
    @property
    def map_rows(self) -> int: ...
    @property
    def timings(self) -> dict[str, float]: ...
    @property
    def inversion(self) -> Inversion | None:
        """Of a request that inverts."""

    @property
    def parameters(self) -> dict[str, object]: ...

class Job:
    """A submitted request. Every method releases the interpreter lock while it waits."""

    def cancel(self) -> None: ...
    def done(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> bool:
        """Waits at most `timeout` seconds; whether the job is done.

        RequestError in a callback of the same engine, unless `timeout` is 0.
        """

    def result(self) -> Result: ...
    def when_done(self, function: Callable[[], object]) -> None:
        """Calls `function` on the engine's thread once the job is done, or at once if it is."""

class Engine:
    def __init__(
        self,
        bundle: object,
        *,
        backend: str = "auto",
        precision: str = "auto",
        threads: int = 0,
        library: str = "",
        tensorrt_library: str = "",
        plugins: Sequence[str] = [],
        device: int = 0,
        max_batch_rows: int = 32,
        max_queue: int = 256,
        max_active: int = 16,
        policy: str = "latency",
        profile: str = "",
        trace: str = "",
        forbid: str = "",
        memory: str = "full",
        attention: str = "auto",
        contexts: str = "auto",
        stream: int = 0,
    ) -> None: ...
    @property
    def manifest(self) -> str:
        """The bundle's manifest.json, verbatim."""

    def bundle_file(self, name: str) -> bytes:
        """A file that the manifest lists; RequestError for another name."""

    @property
    def backend(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def runtime(self) -> str: ...
    @property
    def attention(self) -> str: ...
    @property
    def notes(self) -> list[str]:
        """Backends that "auto" passed over, and why; weaknesses of factors' defaults."""

    @property
    def trace_problem(self) -> str:
        """Why the trace is incomplete; "": it isn't."""

    @property
    def load_seconds(self) -> float: ...
    @property
    def profile_key(self) -> str:
        """Backend, precision, runtime, threads and processor: what batch times depend on."""

    @property
    def dlpack_device(self) -> tuple[int, int]:
        """Where inputs are read without a copy, and kept results lie."""

    def take_array(self, name: str, value: object) -> DeviceArray | None:
        """Takes an array over that another library exports by DLPack, if it lies there; None if it
        lies elsewhere. RequestError, which calls it `name`, if it is empty, isn't dense or of a
        type that no option takes; what its own methods raise passes through."""

    def metrics(self) -> dict[str, Any]: ...
    def close(self) -> None:
        """Cancels what is queued or running; waits for it, but not in a callback."""

    def measure_batches(
        self, rows: Sequence[int], repeats: int, height: int | None, width: int | None
    ) -> list[tuple[int, int, str, dict[int, float]]]:
        """(latent height, latent width, own backbone or "", seconds by rows) of every factor."""

    def submit(
        self,
        prompt: str,
        *,
        step_callback: Callable[[StepInfo], bool | None] | None = None,
        map_callback: Callable[[str, Candidate, int, bool], bool | None] | None = None,
        select_callback: Callable[[str, list[Candidate]], int | None] | None = None,
        **options: object,
    ) -> Job:
        """Options as in fgdm.request.RequestOptions, checked by it. editing: of a request that
        inverts {"settings", "noise", "edits"}, of one that edits {"inversion", "edits", "keep"}."""

def find_objects(palette_json: str, prompt: str) -> tuple[list[str], list[str], list[str], int]:
    """The palette's classes that a prompt asks for, its content words that name none (the first
    hundred), the classes that it excludes, and how many more such words there are."""

def find_requirements(
    palette_json: str, prompt: str, articles_count: bool
) -> tuple[str, list[str]]:
    """The requirements of a prompt as JSON, and what of it was not understood."""

def check_map(
    palette_json: str,
    labels: npt.NDArray[np.uint8],
    requirements_json: str,
    min_area: float,
    opening: int,
) -> dict[str, Any]:
    """The fields of fgdm.compliance.MapCheck."""

def number_instances(
    labels: npt.NDArray[np.uint8], min_area: float, opening: int
) -> npt.NDArray[np.uint32]:
    """What fgdm.compliance.number_instances returns."""

def check_manifest(json: bytes) -> None:
    """Raises BundleError unless an engine would take these bytes as a bundle's manifest.json."""

def check_plan(json: bytes, name: str, hashes: Mapping[str, str]) -> None:
    """Raises BundleError unless an engine would take these bytes as a plan's metadata.

    name: of the file that holds them. hashes: the SHA-256 of the bundle's files by path.
    """

def check_archive(file: str) -> None:
    """Raises BundleError unless an engine would take the file as an archive."""

def version() -> str: ...

class Selection:
    """Which candidates of a factor are sampled, and how far: the engine's own rules.

    Options are those of a request; 0 for none. A map is its recall and its smallest area.
    """

    def __init__(
        self,
        *,
        candidates: int,
        steps: int,
        prune: Sequence[int] = [],
        stop_at_recall: float = 0.0,
        wave: int = 0,
    ) -> None: ...
    @property
    def sampling(self) -> list[int]:
        """The candidates that are sampled now."""

    @property
    def until(self) -> int:
        """The steps that all of them take before they are seen."""

    @property
    def looks(self) -> bool:
        """Whether it wants to know then what the maps hold."""

    @property
    def done(self) -> bool:
        """Whether no candidate is left to sample."""

    def seen(self, maps: Sequence[tuple[float, float]]) -> list[int]:
        """Goes on; the candidates that go no further.

        maps: of `sampling`, in its order; none where it doesn't look. RequestError otherwise.
        """

def select_map(maps: Sequence[tuple[float, float]]) -> int:
    """The index of the map to keep. RequestError if there is none."""

def finish_closing() -> None:
    """Waits for engines that were dropped within their own callbacks."""

def hand_lines_to(function: Callable[[bool, str], object]) -> None:
    """Has a thread call `function` with each line that the core tells, after whether it is a
    warning. Once a process."""

def end_log() -> None:
    """Waits until all lines have been handed on, five seconds at most; later ones aren't."""

def compile_graphs(
    bundle: str,
    *,
    backend: str,
    precision: str,
    threads: int,
    library: str,
    plugins: Sequence[str],
    device: int,
    contexts: str,
    each: Callable[[tuple[str, bool, float, int, list[str]]], object],
) -> None:
    """Keeps compiled contexts of all graphs that requests may run. each: is called after every one
    with its name, whether its context was there already, the seconds, the context's bytes (0: none
    is kept) and notes."""

def runtime_devices(
    library: str, plugins: Sequence[str]
) -> tuple[list[tuple[str, str, str, str, str]], list[str]]:
    """What the execution providers of a libonnxruntime offer once it has loaded those plugins:
    provider, vendor, version, kind and name of every device. And why plugins weren't loaded.
    BackendError without the library."""

def processor_attention() -> str:
    """The kernel for fgdm::SegFreeAttention that this processor gets."""

def tensorrt_headers() -> str:
    """The TensorRT version whose headers the core was built with; "" if it has no such backend."""
