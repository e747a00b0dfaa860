"""What the kernels take of each GPU architecture: registers, shared memory, spills.

python kernels/resources.py [--architectures 75 90] [--output resources.json]

Compiles every kernel for every architecture with warnings as errors; needs nvcc, but no GPU. Fails
if a kernel for Stable Diffusion's shapes (float16 or bfloat16, up to 80 tokens) spills registers.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

ARCHITECTURES = (75, 80, 86, 87, 89, 90, 100, 110, 120)
SOURCES = (
    "segfree_attention_float16",
    "segfree_attention_bfloat16",
    "segfree_attention_float32",
    "guided_step",
    "accumulate",
    "decode_labels",
    "pictures",
)
MAIN_TOKEN_TILES = 5  # attention_plan.hpp: short_token_tiles
ROOM = Path(__file__).resolve().parent


@dataclass
class Usage:
    """One kernel on one architecture; sizes in bytes. Attention's shared memory is dynamic."""

    architecture: int
    kernel: str
    registers: int
    shared: int
    spill_stores: int
    spill_loads: int

    @property
    def is_main(self) -> bool:
        """Whether Stable Diffusion's shapes run it on tensor cores or in every step."""
        return not self.kernel.startswith("segfree_attention") or (
            "float32" not in self.kernel and self.kernel.endswith(f" {MAIN_TOKEN_TILES} tiles")
        )


def find_nvcc() -> Path:
    """nvcc of $NVCC, the search path, $CUDA_HOME or an environment's nvidia-cuda-nvcc package.

    Raises:
        SystemExit: there is none.
    """
    places: list[str | None] = [os.environ.get("NVCC"), shutil.which("nvcc")]
    if "CUDA_HOME" in os.environ:
        places.append(str(Path(os.environ["CUDA_HOME"]) / "bin" / "nvcc"))
    for folder in sys.path:
        places += [str(found) for found in Path(folder).glob("nvidia/cu*/bin/nvcc")]
    for place in places:
        if place and Path(place).is_file():
            return Path(place)
    raise SystemExit(
        "resources.py: nvcc was not found, expected it on the search path, in $CUDA_HOME/bin or "
        "named by $NVCC; install the CUDA toolkit 13, or: pip install -r kernels/requirements.txt"
    )


def compile_source(nvcc: Path, source: str, architecture: int) -> str:
    """What ptxas says of one source on one architecture."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            str(nvcc),
            f"-gencode=arch=compute_{architecture},code=sm_{architecture}",
            *("-std=c++20", "-O3", "-cubin", "-Xptxas=-v", "-Werror=all-warnings"),
            "-Xcompiler=-Wall,-Wextra,-Wshadow,-Wconversion",
            f"-I{ROOM / 'include'}",
            f"-I{ROOM / 'src'}",
            *("-o", str(Path(folder) / "kernel.cubin")),
            str(ROOM / "src" / f"{source}.cu"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def readable(symbol: str) -> str:
    """A mangled kernel name in words."""
    if found := re.search(r"segfree_attention_kernelI(.*?)Li(\d+)ELi(\d+)E", symbol):
        element, head_size, tiles = found.groups()
        kinds = {"BFloat16": "bfloat16", "Float16": "float16"}
        dtype = next((word for name, word in kinds.items() if name in element), "float32")
        return f"segfree_attention {dtype} d={head_size} {tiles} tiles"
    if found := re.search(r"guided_step_kernelILi(\d)E(.*?)EEv", symbol):
        words = {"f": "float32", "6__half": "float16", "13__nv_bfloat16": "bfloat16"}
        types = re.findall(r"S\d*_|6__half|13__nv_bfloat16|f", found.group(2))
        read = words[types[0]]  # a repeated type is a reference to the first
        return f"guided_step x{found.group(1)} {read} {words.get(types[1], read)}"
    if found := re.search(r"accumulate_kernelI(.*?)E", symbol):
        kinds = {"bfloat16": "bfloat16", "half": "float16"}
        return f"accumulate {next((to for of, to in kinds.items() if of in found[1]), 'float32')}"
    if found := re.search(r"decode_labels_kernelI(.*?)E", symbol):
        return f"decode_labels {'float16' if 'half' in found.group(1) else 'float32'}"
    if found := re.search(r"(picture_to_planes|planes_to_picture)_kernel", symbol):
        return found[1]
    return symbol


def parse(text: str, architecture: int) -> Iterator[Usage]:
    """The kernels that ptxas -v lists in `text`."""
    pattern = re.compile(
        r"Compiling entry function '(\S+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads"
        r".*?Used (\d+) registers([^\n]*)",
        re.DOTALL,
    )
    for symbol, stores, loads, registers, rest in pattern.findall(text):
        shared = re.search(r"(\d+) bytes smem", rest)
        yield Usage(
            architecture,
            readable(symbol),
            int(registers),
            int(shared.group(1)) if shared else 0,
            int(stores),
            int(loads),
        )


def print_table(usages: Iterable[Usage]) -> None:
    """One line per kernel, one column of registers (and spills) per architecture."""
    rows: dict[str, dict[int, Usage]] = {}
    for usage in usages:
        rows.setdefault(usage.kernel, {})[usage.architecture] = usage
    columns = sorted({architecture for row in rows.values() for architecture in row})
    print(f"{'registers (spilled bytes)':<38}" + "".join(f"{f'sm_{c}':>11}" for c in columns))
    for kernel, row in sorted(rows.items()):
        cells = []
        for column in columns:
            usage = row[column]
            spilled = usage.spill_stores + usage.spill_loads
            cells.append(f"{usage.registers}" + (f" ({spilled})" if spilled else ""))
        print(f"{kernel:<38}" + "".join(f"{cell:>11}" for cell in cells))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--architectures", type=int, nargs="+", default=list(ARCHITECTURES))
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--output", type=Path, help="JSON file of the table")
    given = parser.parse_args()
    nvcc = find_nvcc()
    work = [(source, arch) for arch in given.architectures for source in given.sources]
    with ThreadPoolExecutor(given.jobs) as pool:
        texts = list(pool.map(lambda item: compile_source(nvcc, *item), work))
    usages = [
        usage for text, (_, arch) in zip(texts, work, strict=True) for usage in parse(text, arch)
    ]
    print_table(usages)
    if given.output:
        given.output.write_text(json.dumps([asdict(usage) for usage in usages], indent=1) + "\n")
    spilled = [u for u in usages if u.is_main and u.spill_stores + u.spill_loads > 0]
    for usage in spilled:
        print(f"sm_{usage.architecture}: {usage.kernel} spills registers", file=sys.stderr)
    return 1 if spilled else 0


if __name__ == "__main__":
    sys.exit(main())
