"""Speed of the attention kernel on a card, at Stable Diffusion 1.5's shapes.

python -m benchmarks.kernels build/cuda/kernels/libfgdm_kernels.so --output results.json

Rivals, on the same q, k and v: PyTorch's scaled_dot_product_attention, which rescales nothing, and
the op in separate PyTorch calls. Ours runs with all scales 1 (plain attention), with half of the
batch rows at -10, as segmentation-free guidance has it, and with all of them. Times are medians of
replayed CUDA graphs, so that launches cost nothing.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.attention_shapes import BATCHES, HEADS, LEVELS, TOKENS
from benchmarks.machine import write_results

DTYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}


class Shape(ctypes.Structure):
    """fgdm_attention_shape of fgdm/kernels.h."""

    _fields_ = [
        (name, ctypes.c_int)
        for name in ("batch", "heads", "patches", "tokens", "head_size", "dtype", "argmax")
    ]


@dataclass
class Inputs:
    q: Tensor
    k: Tensor
    v: Tensor
    scale: Tensor
    mask: Tensor


@dataclass
class Row:
    """One shape; times in microseconds."""

    side: int
    head_size: int
    batch: int
    plain: float
    half_scaled: float
    all_scaled: float
    sdpa: float
    separate: float
    relative_error: float  # of the op, against float64
    memory_share: float  # of the copy speed, reading q, k, v and writing out once
    arithmetic_share: float  # of the speed of a large matrix product; the products of one pass


class Kernels:
    """libfgdm_kernels.so."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self._library.fgdm_segfree_attention.argtypes = [
            ctypes.POINTER(Shape),
            *[ctypes.c_void_p] * 7,
        ]
        self._library.fgdm_segfree_attention.restype = ctypes.c_int

    def attention(self, inputs: Inputs, out: Tensor) -> None:
        batch, heads, patches, head_size = inputs.q.shape
        shape = Shape(
            batch, heads, patches, inputs.k.shape[2], head_size, DTYPES[inputs.q.dtype], 0
        )
        tensors = (inputs.q, inputs.k, inputs.v, inputs.scale, inputs.mask, out)
        stream = torch.cuda.current_stream().cuda_stream
        error = self._library.fgdm_segfree_attention(
            ctypes.byref(shape), *(tensor.data_ptr() for tensor in tensors), stream
        )
        if error != 0:
            raise RuntimeError(f"fgdm_segfree_attention failed with cudaError_t {error}")


def separate_calls(inputs: Inputs) -> Tensor:
    """The op as a PyTorch program without a kernel of its own writes it (export/attention.py)."""
    scores = (inputs.q * inputs.q.shape[-1] ** -0.5) @ inputs.k.transpose(-1, -2)
    weights = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32))
    allowed = inputs.mask.bool()[:, None, :]
    strongest = weights.mean(1).masked_fill(~allowed, -1.0).argmax(-1, keepdim=True)
    is_strongest = torch.arange(weights.shape[-1], device=weights.device) == strongest
    factor = torch.where(is_strongest & allowed, inputs.scale[:, None, None], 1.0)
    attended: Tensor = (weights * factor[:, None]).to(inputs.v.dtype) @ inputs.v
    return attended


def microseconds(call: Callable[[], object], repeats: int = 50, samples: int = 20) -> float:
    """Median time of one call, from a CUDA graph of `repeats` of them."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(repeats):
            call()
    times: list[float] = []
    for _ in range(samples):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        graph.replay()
        ended.record()
        ended.synchronize()
        times.append(1000.0 * began.elapsed_time(ended) / repeats)
    return statistics.median(times)


def limits(dtype: torch.dtype) -> tuple[float, float]:
    """What this card reaches: bytes per second of a large copy, operations of a matrix product."""
    source = torch.empty(1 << 28, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    copy = microseconds(lambda: target.copy_(source), repeats=5)
    size = 8192
    a, b = (torch.randn(size, size, device="cuda", dtype=dtype) for _ in range(2))
    product = microseconds(lambda: a @ b, repeats=5)
    return 2e6 * source.numel() / copy, 2e6 * size**3 / product


def measure(
    kernels: Kernels, side: int, head_size: int, batch: int, dtype: torch.dtype
) -> tuple[Row, float, float]:
    """A row without its shares, and the bytes and operations of one plain pass."""
    generator = torch.Generator(device="cuda").manual_seed(0)

    def draw(rows: int) -> Tensor:
        shape = (batch, HEADS, rows, head_size)
        return torch.randn(shape, device="cuda", generator=generator).to(dtype)

    mask = torch.ones(batch, TOKENS, dtype=torch.uint8, device="cuda")
    mask[:, 0] = 0
    inputs = Inputs(
        draw(side * side), draw(TOKENS), draw(TOKENS), torch.ones(batch, device="cuda"), mask
    )
    out = torch.empty_like(inputs.q)
    times = []
    for scaled in (0, batch // 2, batch):
        inputs.scale[:scaled] = -10.0
        times.append(microseconds(lambda: kernels.attention(inputs, out)))
    plain, half_scaled, all_scaled = times
    separate = microseconds(lambda: separate_calls(inputs), repeats=10)
    kernels.attention(inputs, out)
    exact = separate_calls(
        Inputs(inputs.q.double(), inputs.k.double(), inputs.v.double(), inputs.scale, mask)
    )
    error = ((out.double() - exact).norm() / exact.norm()).item()
    sdpa = microseconds(
        lambda: torch.nn.functional.scaled_dot_product_attention(inputs.q, inputs.k, inputs.v)
    )
    bytes_moved = 2.0 * out.element_size() * (inputs.q.numel() + inputs.k.numel())
    operations = 4.0 * inputs.q.numel() * TOKENS
    return (
        Row(
            side, head_size, batch, plain, half_scaled, all_scaled, sdpa, separate, error, 0.0, 0.0
        ),
        bytes_moved,
        operations,
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("library", type=Path, help="libfgdm_kernels.so")
    parser.add_argument("--dtype", choices=("float16", "bfloat16"), default="float16")
    parser.add_argument("--output", type=Path, help="JSON file of the results")
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("benchmarks.kernels: PyTorch sees no NVIDIA GPU; nothing measured", file=sys.stderr)
        return 1
    kernels = Kernels(given.library)
    dtype = getattr(torch, given.dtype)
    bytes_per_second, operations_per_second = limits(dtype)
    card = torch.cuda.get_device_name()
    print(f"{card}: copies {bytes_per_second / 1e12:.2f} TB/s, ", end="")
    print(f"{given.dtype} products {operations_per_second / 1e12:.0f} TFLOP/s")
    print("patches  d    B |  plain   half    all |   sdpa  separate | sdpa/plain separate/all")
    rows = []
    for side, head_size in LEVELS:
        for batch in BATCHES:
            row, moved, operations = measure(kernels, side, head_size, batch, dtype)
            row.memory_share = moved / bytes_per_second / (1e-6 * row.plain)
            row.arithmetic_share = operations / operations_per_second / (1e-6 * row.plain)
            rows.append(row)
            print(
                f"{side:>3}²   {head_size:>3}  {batch:>3} | {row.plain:6.1f} "
                f"{row.half_scaled:6.1f} {row.all_scaled:6.1f} | {row.sdpa:6.1f} "
                f"{row.separate:9.1f} | {row.sdpa / row.plain:10.2f} "
                f"{row.separate / row.all_scaled:12.1f}"
            )
    write_results(
        given.output,
        {
            "card": card,
            "compute_capability": ".".join(map(str, torch.cuda.get_device_capability())),
            "cuda": torch.version.cuda,
            "dtype": given.dtype,
            "copy_bytes_per_second": bytes_per_second,
            "product_operations_per_second": operations_per_second,
            "rows": [asdict(row) for row in rows],
        },
    )
    met = all(r.sdpa >= 0.9 * r.plain and r.separate >= 5 * r.all_scaled for r in rows)
    print(
        "targets (0.9 of sdpa's speed, 5 times the separate calls): " + ("met" if met else "MISSED")
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
