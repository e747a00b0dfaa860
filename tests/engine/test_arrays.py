"""Protects arrays of other libraries: what is given, where it is read, and who has it how long."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fgdm import _core, arrays, compliance, maps, request
from fgdm.engine import Engine
from fgdm.errors import RequestError
from fgdm.requirements import Reading
from numpy.typing import NDArray

FEW: dict[str, Any] = {
    "candidates": 2,
    "condition_steps": 2,
    "num_inference_steps": 2,
    "seed": 1,
}
QUICK: dict[str, Any] = {**FEW, "objects": ["dog"]}


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Iterator[Engine]:
    with Engine(tiny_bundle, backend="cpu", threads=1) as opened:
        yield opened


class Exported:
    """An array of a library that numpy knows nothing of but its DLPack.

    device: where it says that it lies. old: whether it has the protocol of before 2023. As a GPU's
    array, it comes to the host where that is asked for, if `comes`.
    """

    def __init__(
        self, content: Any, device: tuple[int, int] = (1, 0), old: bool = False, comes: bool = True
    ) -> None:
        self.content, self._device, self._old, self._comes = np.asarray(content), device, old, comes
        self.asked: list[dict[str, Any]] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device

    def __dlpack__(self, **wishes: Any) -> Any:
        self.asked.append(wishes)
        if self._old and wishes.keys() - {"stream"}:
            raise TypeError("__dlpack__() got an unexpected keyword argument")
        if self._device[0] != 1 and (wishes.get("dl_device") != (1, 0) or not self._comes):
            raise BufferError("it stays where it is")
        version: dict[str, Any] = {} if self._old else {"max_version": (1, 0)}
        return self.content.__dlpack__(**version)


def picture_of(engine: Engine, seed: int = 0) -> NDArray[np.uint8]:
    spec = engine.manifest["factors"][-1]
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (spec["height"], spec["width"], 3), dtype=np.uint8)


def noise_of(engine: Engine, place: int, rows: int) -> NDArray[np.float32]:
    spec, scale = engine.manifest["factors"][place], engine.manifest["autoencoder"]["downscale"]
    shape = (rows, 4, spec["height"] // scale, spec["width"] // scale)
    return np.random.default_rng(place % 7).standard_normal(shape, np.float32)


def all_options(engine: Engine) -> dict[str, Any]:
    """Every option of a request that is an array, but for control images, as numpy's."""
    picture = picture_of(engine)
    spec = engine.manifest["factors"][0]
    return {
        "image": picture,
        "mask": picture[..., 0] > 99,
        "latents": noise_of(engine, -1, 1),
        "factors": {"segmentation": {"map": np.ones((spec["height"], spec["width"]), np.uint8)}},
    }


def changed(options: dict[str, Any], change: Any) -> dict[str, Any]:
    """The options with every array changed."""
    return {
        name: changed(value, change) if isinstance(value, dict) else change(value)
        for name, value in options.items()
    }


@pytest.mark.parametrize("kind", ["torch", "exported", "old", "elsewhere"])
def test_arrays_of_any_library_are_those_of_numpy(engine: Engine, kind: str) -> None:
    def change(array: NDArray[Any]) -> Any:
        if kind == "torch":
            return pytest.importorskip("torch").from_numpy(array.copy())
        return Exported(array, (2, 0) if kind == "elsewhere" else (1, 0), old=kind == "old")

    options = {**QUICK, **all_options(engine)}
    expected = engine.generate("a dog", **options)
    made = engine.generate("a dog", **{**QUICK, **changed(all_options(engine), change)})
    assert made.image.tobytes() == expected.image.tobytes()
    assert (made.labels == expected.labels).all()


def test_a_gpus_array_that_does_not_come_to_the_host_is_named(engine: Engine) -> None:
    given = Exported(picture_of(engine), (2, 1), comes=False)
    with pytest.raises(RequestError, match=r"image lies on DLPack's device \(2, 1\), .*a copy"):
        engine.submit("a dog", image=given)
    assert all(wish.get("stream") is None for wish in given.asked), "no stream of the CPU's"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": Exported(np.zeros((4, 4), np.uint8))}, r"image must be .*uint8 of shape \(4, 4"),
        ({"latents": Exported(np.zeros(3, bool))}, "latents must be an array .*got dtype bool"),
        ({"mask": Exported(np.zeros((0, 4), np.uint8))}, "mask must be .* an empty one"),
        (
            {"factors": {"segmentation": {"map": Exported(np.zeros(4))}}},
            r"segmentation'\] map must be .*float64",
        ),
    ],
)
def test_wrong_types_and_shapes_name_the_option(
    engine: Engine, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        engine.submit("a dog", **options)


def test_maps_and_their_checks_take_arrays_of_any_library() -> None:
    labels = np.zeros((8, 8), np.uint8)
    labels[2:5, 2:5] = 1
    palette = {
        "name": "p",
        "classes": [
            {"index": i, "name": n, "kind": "thing", "color": [i, 0, 0], "synonyms": []}
            for i, n in enumerate(("sky", "dog"))
        ],
    }
    for given in (labels, Exported(labels), Exported(labels, (2, 0))):
        assert compliance.check_map(given, {"objects": ["dog"]}, palette).joint
        assert compliance.number_instances(given).max() == 2
    with pytest.raises(RequestError, match=r"labels must be .* got float64 of shape \(8, 8\)"):
        compliance.number_instances(Exported(np.zeros((8, 8))))
    depth = np.linspace(0, 1, 12).reshape(3, 4)
    assert (maps.encode_depth(Exported(depth)) == maps.encode_depth(depth)).all()  # type: ignore[arg-type]


def test_inversions_take_arrays_of_any_library(engine: Engine) -> None:
    spec = engine.manifest["factors"][0]
    labels = np.ones((spec["height"], spec["width"]), np.uint8)
    few: dict[str, Any] = {"steps": 3, "seed": 1}
    expected = engine.invert(map=labels, **few)
    assert (engine.invert(map=Exported(labels, (2, 0)), **few).latents == expected.latents).all()
    picture, left_out = picture_of(engine), {"factors": {"segmentation": None}}
    expected = engine.invert(image=picture, **few, **left_out)  # type: ignore[arg-type]
    made = engine.invert(image=Exported(picture), **few, **left_out)  # type: ignore[arg-type]
    assert (made.visited == expected.visited).all()


# ---- What stays where the engine made it: here, on the host ----


def test_a_kept_picture_is_the_one_that_is_copied(engine: Engine) -> None:
    torch = pytest.importorskip("torch")
    expected = engine.generate("a dog", **QUICK)
    result = engine.generate("a dog", keep_on_device=True, **QUICK)
    picture = result.image_device
    assert (picture.dtype, picture.device, engine.dlpack_device) == ("uint8", (1, 0), (1, 0))
    assert result.to_json()["image"] == {"width": picture.shape[1], "height": picture.shape[0]}
    assert (np.from_dlpack(picture) == np.asarray(expected.image)).all()
    assert (torch.from_dlpack(picture).numpy() == np.asarray(expected.image)).all()
    assert result.image.tobytes() == expected.image.tobytes()
    latents = torch.from_dlpack(result.latents_device)
    assert latents.dtype == torch.float32 and latents.isfinite().all()
    assert result.parameters == expected.parameters


def test_who_did_not_ask_is_told_how(engine: Engine) -> None:
    result = engine.generate("a dog", **QUICK)
    with pytest.raises(RequestError, match="keep_on_device=True"):
        _ = result.image_device
    with pytest.raises(RequestError, match="keep_on_device must be"):
        engine.submit("a dog", keep_on_device="yes")  # type: ignore[arg-type]


def test_nothing_is_copied_between_libraries(engine: Engine) -> None:
    """numpy and PyTorch see the same addresses, and what one writes."""
    torch = pytest.importorskip("torch")
    result = engine.generate("a dog", keep_on_device=True, **QUICK)
    array, tensor = np.from_dlpack(result.image_device), torch.from_dlpack(result.image_device)
    assert tensor.data_ptr() == array.ctypes.data
    assert array.ctypes.data % 256 == 0, "as every library wants it"
    tensor[0, 0] = torch.tensor([1, 2, 3], dtype=torch.uint8)
    assert array[0, 0].tolist() == [1, 2, 3]
    assert result.image.getpixel((0, 0)) == (1, 2, 3), "it is copied when it is first read"
    again = engine.generate("a dog", image=result.image_device, strength=0.5, **QUICK)
    expected = engine.generate("a dog", image=array.copy(), strength=0.5, **QUICK)
    assert again.image.tobytes() == expected.image.tobytes()


def test_a_picture_outlives_its_result_and_its_engine(tiny_bundle: Path) -> None:
    with Engine(tiny_bundle, backend="cpu", threads=1) as opened:
        result = opened.generate("a dog", keep_on_device=True, **QUICK)
        array = np.from_dlpack(result.image_device)
        before = array.copy()
    del result, opened
    gc.collect()
    np.empty(array.nbytes, np.uint8).fill(7)  # where it would have been
    assert (array == before).all()


@pytest.mark.parametrize("read", [False, True])
def test_the_image_is_not_read_until_somebody_asks(engine: Engine, read: bool) -> None:
    """Also with a reading of requirements, which makes another result of the first."""
    reading = Reading({"objects": ["dog"]}, "llm", "a model", "", 1, 0.5)
    options = {"requirements": reading} if read else {"objects": ["dog"]}
    result = engine.generate("a dog", keep_on_device=True, **{**FEW, **options})
    assert result.reading is (reading if read else None)
    assert vars(result)["image"] is result.kept
    _ = result.to_json()
    assert vars(result)["image"] is result.kept
    assert result.image is result.image


def test_a_watermark_and_keeping_are_refused_together(tiny_bundle: Path) -> None:
    if find_spec("blind_watermark") is None:  # importing it chooses how processes start
        pytest.skip("fgdm[watermark] is not installed")
    with (
        Engine(tiny_bundle, backend="cpu", threads=1, watermark="me") as marking,
        pytest.raises(RequestError, match="watermark, which the host does"),
    ):
        marking.submit("a dog", keep_on_device=True)


# ---- The protocol itself ----


@pytest.fixture(scope="module")
def kept(engine: Engine) -> _core.DeviceArray:
    return engine.generate("a dog", keep_on_device=True, **QUICK).image_device


@pytest.mark.parametrize(
    ("wishes", "name"),
    [
        ({}, "dltensor"),
        ({"max_version": (0, 8)}, "dltensor"),
        ({"max_version": (1, 0)}, "dltensor_versioned"),
        ({"max_version": (2, 3)}, "dltensor_versioned"),
        ({"dl_device": (1, 0), "copy": False}, "dltensor"),
    ],
)
def test_a_capsule_has_the_form_that_is_asked_for(
    kept: _core.DeviceArray, wishes: dict[str, Any], name: str
) -> None:
    assert name in repr(kept.__dlpack__(**wishes)).split('"')


def test_a_copy_is_one(kept: _core.DeviceArray) -> None:
    copy = np.from_dlpack(kept, copy=True)
    assert copy.ctypes.data != np.from_dlpack(kept).ctypes.data
    assert (copy == np.from_dlpack(kept)).all()
    assert kept.numpy().ctypes.data != copy.ctypes.data


@pytest.mark.parametrize(
    ("wishes", "error", "message"),
    [
        ({"stream": 1}, ValueError, "has no streams"),
        ({"stream": 0}, ValueError, "has no streams"),
        ({"dl_device": (2, 0)}, BufferError, r"\(1, 0\), from where it goes to the host alone"),
    ],
)
def test_what_it_cannot_do_is_said(
    kept: _core.DeviceArray, wishes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        kept.__dlpack__(**wishes)


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", ctypes.c_int32 * 2),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


class Counted:
    """A producer of float32 latents or uint8 pictures that counts how often its deleter runs, and
    on which threads; read-only, as JAX's arrays are."""

    def __init__(self, content: NDArray[Any], major: int = 1, offset: int = 0) -> None:
        self.content, self.deleted, self.threads = content, 0, set[int]()
        size = content.ndim
        self._shape = (ctypes.c_int64 * size)(*content.shape)
        self._strides = (ctypes.c_int64 * size)(*(s // content.itemsize for s in content.strides))
        self._delete = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._deleted)
        code = {"f": 2, "u": 1}[content.dtype.kind]
        self._managed = _Managed(major, 0, None, self._delete, 1)
        self._managed.tensor = _Tensor(
            content.ctypes.data - offset,
            (ctypes.c_int32 * 2)(1, 0),
            size,
            code,
            8 * content.itemsize,
            1,
            self._shape,
            self._strides,
            offset,
        )

    def _deleted(self, _: int) -> None:
        self.deleted += 1
        self.threads.add(threading.get_ident())

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __dlpack__(self, *, max_version: tuple[int, int] | None = None) -> Any:
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = (
            ctypes.py_object,
            (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p),
        )
        return new(ctypes.addressof(self._managed), b"dltensor_versioned", None)


def take(engine: Engine, name: str, value: object) -> _core.DeviceArray:
    """As an engine takes arrays over on its GPU."""
    core: Any = engine._engine
    taken = core.take_array(name, value)
    assert isinstance(taken, _core.DeviceArray)
    return taken


def test_arrays_that_are_taken_over_are_read_where_they_lie(engine: Engine) -> None:
    """What happens to arrays on the engine's GPU: they are given back when the job ends, once."""
    picture, noise, of_maps = picture_of(engine), noise_of(engine, -1, 1), noise_of(engine, 0, 2)
    for options in (
        {"image": picture, "strength": 0.7},
        {"image": picture, "mask": picture[..., 0] > 99},
        {"latents": noise, "condition_latents": of_maps},
        {"latents": noise, "factors": {"segmentation": {"latents": of_maps}}},
    ):
        expected = engine.generate("a dog", **{**QUICK, **options})
        producers: list[Counted] = []

        def taken(value: Any, producers: list[Counted] = producers) -> Any:
            if not isinstance(value, np.ndarray) or value.dtype == bool:
                return value
            producers.append(Counted(value, offset=64))
            return take(engine, "array", producers[-1])

        made = engine.generate("a dog", **{**QUICK, **changed(options, taken)})
        gc.collect()
        assert made.image.tobytes() == expected.image.tobytes()
        assert (made.labels == expected.labels).all()
        assert made.parameters == expected.parameters
        assert producers and [producer.deleted for producer in producers] == [1] * len(producers)


def test_an_array_that_nobody_uses_is_given_back_once(engine: Engine) -> None:
    producer = Counted(noise_of(engine, -1, 1))
    taken = take(engine, "latents", producer)
    assert producer.deleted == 0
    assert (taken.numpy() == producer.content).all()
    del taken
    gc.collect()
    assert producer.deleted == 1


@pytest.mark.parametrize(
    ("content", "major", "message"),
    [
        (np.zeros((4, 4, 3)), 1, "image is an array of float64, expected uint8 of a picture"),
        (np.zeros((4, 4, 3), np.uint8).transpose(1, 0, 2), 1, "image has the strides .*contiguous"),
        (np.zeros((4, 4, 3), np.uint8), 2, "image comes in DLPack's version 2, expected 1"),
    ],
)
def test_an_array_that_is_not_taken_stays_its_producers(
    engine: Engine, content: NDArray[Any], major: int, message: str
) -> None:
    producer = Counted(content, major)
    with pytest.raises(RequestError, match=message):
        take(engine, "image", producer)
    gc.collect()
    assert producer.deleted == 0, "the capsule of this producer has no destructor"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": (4, 4, 3, "f")}, r"image must be a uint8 array of shape \(height, width, 3\)"),
        ({"latents": (2, 2, 2, "f")}, r"latents must be a float32 array of shape \(rows, ch"),
        ({"image": (8, 8, 3, "B")}, r"image is an array of uint8 of shape \(8, 8, 3\), expected"),
    ],
)
def test_arrays_that_were_taken_are_checked_by_name(
    engine: Engine, options: dict[str, Any], message: str
) -> None:
    taken: dict[str, Any] = {
        name: take(engine, name, np.zeros(shape, kind)) for name, (*shape, kind) in options.items()
    }
    with pytest.raises(RequestError, match=message):
        engine.submit("a dog", **taken)


def test_latents_that_are_not_finite_end_their_request(engine: Engine) -> None:
    noise = noise_of(engine, -1, 1)
    noise[0, 1, 0, 0] = np.nan
    with pytest.raises(RequestError, match="latents of factor image holds a value that is not fin"):
        engine.generate("a dog", latents=take(engine, "latents", noise), **QUICK)


def test_many_threads_may_give_and_take_at_once(engine: Engine) -> None:
    torch = pytest.importorskip("torch")
    picture = picture_of(engine)
    expected = engine.generate("a dog", image=picture, **QUICK).image.tobytes()
    wrong: list[object] = []

    def run() -> None:
        for _ in range(3):
            given = take(engine, "image", torch.from_numpy(picture.copy()))
            result = engine.generate("a dog", image=given, keep_on_device=True, **QUICK)
            del given
            if torch.from_dlpack(result.image_device).numpy().tobytes() != expected:
                wrong.append(result)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class _Asks:
    """Looks like a GPU's array to whoever only asks where it lies."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)

    def __dlpack__(self, **_: Any) -> Any:
        raise OSError("the GPU is gone")


def test_only_options_that_are_read_on_the_device_are_taken_over() -> None:
    asked: list[str] = []

    def record(name: str, value: object) -> None:
        asked.append(name)

    array = _Asks()
    options = {
        "image": array,
        "mask": array,
        "latents": array,
        "condition_latents": np.zeros(3),
        "control_images": {"pose": array, "depth": None},
        "factors": {"a": {"latents": array, "map": array}, "b": None, "c": {"map": array}},
        "seed": 1,
    }
    assert arrays.brought(options, record) == options
    assert asked == ["image", "latents", "control_images['pose']", "factors['a'] latents"]

    def fail(name: str, value: object) -> None:
        raise OSError("the GPU is gone")

    with pytest.raises(RequestError, match="image can't be taken: its _Asks raises OSError"):
        arrays.brought({"image": array}, fail)
    with pytest.raises(RequestError, match=r"mask can't be read: its _Asks raises OSError"):
        request.checked({"mask": array})
