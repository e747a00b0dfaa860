"""Protects users from the binding's bare TypeErrors: each slip is a RequestError that says what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fgdm import request, values
from fgdm.errors import RequestError
from numpy.typing import NDArray
from PIL import Image


def test_good_values_pass_unchanged() -> None:
    assert values.text("prompt", "ein Hund 🐕") == "ein Hund 🐕"
    assert values.texts("objects", ("dog", "tree")) == ["dog", "tree"]
    assert values.texts("objects", None) is None
    assert values.required_integer("seed", 2**64 - 1) == 2**64 - 1
    assert values.required_integer("candidates", np.int32(3)) == 3
    assert values.required_integer("candidates", 0) == 0  # the core knows the range
    assert np.isnan(values.required_real("min_area", float("nan")))
    assert values.required_real("min_area", np.float32(0.5)) == 0.5


@pytest.mark.parametrize("value", [b"a dog", None, 3, ["a dog"]])
def test_text_must_be_str(value: object) -> None:
    with pytest.raises(RequestError, match="prompt must be text"):
        values.text("prompt", value)


def test_lone_surrogate_is_named_with_its_place() -> None:
    undecodable = b"a \xff dog".decode("utf-8", "surrogateescape")
    with pytest.raises(RequestError, match=r"character 2 is the lone surrogate U\+DCFF"):
        values.text("prompt", undecodable)


@pytest.mark.parametrize("value", ["dog", b"dog", 3, ["dog", 3], ["\ud800"], {"dog": 1}, {}])
def test_objects_must_be_a_list_of_texts(value: object) -> None:
    with pytest.raises(RequestError, match="objects"):
        values.texts("objects", value)


@pytest.mark.parametrize(
    "value",
    [1.5, "ten", None, 2**31, -(10**5000), float("nan")],
    ids=lambda value: type(value).__name__,
)
def test_whole_numbers(value: object) -> None:
    with pytest.raises(RequestError, match="candidates must be"):
        values.required_integer("candidates", value)


class CudaStream:
    def __init__(self, address: int) -> None:
        self.address = address

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.address


def test_cuda_streams() -> None:
    assert values.cuda_stream("stream", 0) == 0
    assert values.cuda_stream("stream", 2**47) == 2**47
    assert values.cuda_stream("stream", CudaStream(2**47)) == 2**47


def test_cudas_default_stream_is_refused() -> None:
    with pytest.raises(RequestError, match="stream is CUDA's default stream"):
        values.cuda_stream("stream", CudaStream(0))


def test_what_a_stream_raises_is_named() -> None:
    class Broken:
        def __cuda_stream__(self) -> tuple[int]:
            return (0,)

    with pytest.raises(RequestError, match="stream can't be asked for its address"):
        values.cuda_stream("stream", Broken())


@pytest.mark.parametrize("value", ["0x7000", -1, 2**64, None, True])
def test_what_is_no_stream(value: object) -> None:
    with pytest.raises(RequestError, match="stream must be"):
        values.cuda_stream("stream", value)


@pytest.mark.parametrize("value", [-1, 2**64, 0.5])
def test_seeds(value: object) -> None:
    with pytest.raises(RequestError, match="seed must be"):
        values.required_integer("seed", value)


@pytest.mark.parametrize("value", ["7.5", [7.5], 10**400])
def test_numbers(value: object) -> None:
    with pytest.raises(RequestError, match="guidance_scale must be a number"):
        values.required_real("guidance_scale", value)


def test_arrays_become_contiguous_float32() -> None:
    given = np.arange(64, dtype=np.float64).reshape(1, 4, 4, 4).transpose(0, 1, 3, 2)
    array = values.array("latents", given)
    assert array is not None
    assert array.dtype == np.float32 and array.flags.c_contiguous
    assert (array == given).all()
    same = np.zeros((1, 4, 2, 2), np.float32)
    assert values.array("latents", same) is same
    huge = values.array("latents", np.full((1,), 1e300))
    assert isinstance(huge, np.ndarray) and np.isinf(huge).all()


@pytest.mark.parametrize("value", ["noise", [[1.0], [1.0, 2.0]], np.array([object()]), 1j])
def test_arrays_must_hold_numbers(value: object) -> None:
    with pytest.raises(RequestError, match="latents must be an array or tensor of numbers"):
        values.array("latents", value)


def test_none_is_as_good_as_not_given() -> None:
    assert request.checked(dict.fromkeys(request.RequestOptions.__annotations__)) == {}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int64"])
def test_tensors_become_arrays(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    given = torch.arange(64).reshape(1, 4, 4, 4).to(getattr(torch, dtype)).transpose(2, 3)
    if given.is_floating_point():
        given.requires_grad_()
    array = values.array("latents", given)
    assert array is not None and array.dtype == np.float32 and array.flags.c_contiguous
    assert (array == given.detach().float().numpy()).all()


def test_tensors_without_values_or_of_the_wrong_kind_are_refused() -> None:
    torch = pytest.importorskip("torch")
    for bad in (torch.zeros(1, 4, 2, 2, device="meta"), torch.zeros(2, dtype=torch.complex64)):
        with pytest.raises(RequestError, match="latents must be an array or tensor of numbers"):
            values.array("latents", bad)
    with pytest.raises(RequestError, match="control_images"):
        values.pictures("control_images", {"depth": torch.zeros(4, 4, 3)})
    picture = torch.zeros(4, 4, 3, dtype=torch.uint8)
    assert values.pictures("control_images", {"depth": picture}) is not None


class Hostile:
    """A value whose own methods raise."""

    def __repr__(self) -> str:
        raise ValueError("no repr")

    def __iter__(self) -> Iterator[object]:
        raise OSError("no items")

    def __array__(self, *_: object) -> NDArray[Any]:
        raise KeyError("no array")


@pytest.mark.parametrize("name", sorted(request.RequestOptions.__annotations__))
@pytest.mark.parametrize(
    "value",
    [10**5000, [10**5000], {"a": 10**5000, 1: 2}, Hostile()],
    ids=["huge", "list", "dict", "own"],
)
def test_what_cannot_be_shown_or_read_is_refused_too(name: str, value: object) -> None:
    with pytest.raises(RequestError, match=name):
        request.checked({name: value})


def test_a_picture_that_cannot_be_read(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:-30])
    with (
        Image.open(tmp_path / "cut.png") as picture,
        pytest.raises(RequestError, match=r"control_images can't be read: .*truncated"),
    ):
        request.checked({"control_images": {"pose": picture}})


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
@pytest.mark.parametrize("name", ["image", "mask"])
def test_pictures_of_more_than_8_bits_are_not_clipped(name: str, mode: str) -> None:
    with pytest.raises(RequestError, match=f"{name} must be a picture of 8 bits .* mode {mode}"):
        request.checked({name: Image.new(mode, (64, 64))})


@pytest.mark.parametrize("value", [3, [(64,)], [("a", "b")], [(64.0, 64)], [(64, 2**40)], [64]])
def test_sizes_of_images(value: object) -> None:
    with pytest.raises(RequestError, match="image_sizes"):
        values.image_sizes("image_sizes", value)


@pytest.mark.parametrize("value", [None, 3, [], "\ud800", "sc\0enes"])
def test_paths(value: object) -> None:
    with pytest.raises(RequestError, match="bundle"):
        values.path("bundle", value)
