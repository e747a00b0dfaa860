"""A full-size checkpoint as it is downloaded: gigabytes, in float16, read within its own memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fgdm.export.sources import load_base
from safetensors import safe_open
from safetensors.torch import save_file

from tests.export.sources.test_checkpoints import FULL_SIZE
from tests.tiny_models import TinyCheckpoint

PROGRAM = """
import resource, sys
from fgdm.export.sources import load_base
base = load_base(sys.argv[1], sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.full_size
def test_full_size_file(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    """Peak memory is the file, mapped, and one float32 copy of it, not two."""
    tokenizer = tiny_checkpoint.base / "tokenizer"
    path = tmp_path / "v1-5.safetensors"
    entries = [e.behind(prefix) for prefix, part in FULL_SIZE.items() for e in part]
    torch.manual_seed(1)
    tensors = {
        entry.file: torch.empty(entry.shape, dtype=torch.float16).uniform_(-0.05, 0.05)
        for entry in entries
    }
    save_file(tensors, path)
    del tensors
    command = [sys.executable, "-c", PROGRAM, str(path), str(tokenizer)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    file = path.stat().st_size
    libraries = 1 << 30
    assert int(done.stdout) * 1024 < file + 2 * file + libraries
    base = load_base(path, tokenizer)
    with safe_open(path, framework="pt") as stored:
        models = zip(FULL_SIZE, (base.unet, base.vae, base.text_encoder), strict=True)
        for prefix, model in models:
            state = {k.removeprefix("text_model."): v for k, v in model.state_dict().items()}
            for entry in FULL_SIZE[prefix]:
                value = state[entry.model]
                expected = stored.get_tensor(prefix + entry.file).float().reshape(value.shape)
                assert torch.equal(value, expected), entry
