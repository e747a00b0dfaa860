"""Protects folders of compiled contexts: what ``fgdm compile --prune`` removes and what it leaves,
also while others write there. test_contexts.py has contexts that a runtime made."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fgdm.cli.command import main
from fgdm.contexts import CONTEXTS, Context, find_contexts, prune_contexts
from fgdm.inspect import describe
from fgdm.manifest import read_manifest
from fgdm.plans import plan_key

MakeBundle = Callable[..., Path]

TWO_DAYS_AGO = time.time() - 2 * 24 * 3600


@pytest.fixture
def bundle(make_bundle: MakeBundle) -> Path:
    return make_bundle()


def write_context(bundle: Path, graph: str, schema: int = 1, sound: bool = True) -> Path:
    """A context of a graph, in the bundle; the folder."""
    listed = json.loads((bundle / "manifest.json").read_text())["files"]
    file = f"{graph}.onnx"
    covers = {
        "target": "openvino",
        "graph": graph,
        "files": {file: listed[file]["sha256"] if sound else "0" * 64},
    }
    place = bundle / CONTEXTS / "openvino" / plan_key(covers)
    place.mkdir(parents=True)
    (place / "context.onnx").write_bytes(b"model")
    digest = hashlib.sha256(b"model").hexdigest()
    files = {"context.onnx": {"size": 5, "sha256": digest}}
    document = {"schema": schema, "covers": covers, "files": files}
    (place / "context.json").write_text(json.dumps(document))
    return place


def found(bundle: Path) -> tuple[Context, ...]:
    return find_contexts(bundle / CONTEXTS, read_manifest(bundle))


def prune(bundle: Path) -> tuple[Context, ...]:
    return prune_contexts(bundle / CONTEXTS, read_manifest(bundle))


def test_one_of_a_newer_fgdm_is_neither_used_nor_removed(bundle: Path) -> None:
    newer = write_context(bundle, "backbone", schema=2)
    stale = write_context(bundle, "text_encoder", sound=False)
    assert [context.folder for context in prune(bundle)] == [stale]
    (left,) = found(bundle)
    assert left.folder == newer and not left.obsolete and "newer fgdm" in str(left.problem)


def test_one_that_cannot_be_removed_is_named_with_what_to_do(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = write_context(bundle, "backbone", sound=False)

    def fail(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", fail)
    assert main(["compile", str(bundle), "--prune"]) == 5
    assert f"can't remove {stale}: Permission denied; make" in capsys.readouterr().err


def test_what_others_remove_meanwhile_is_no_error(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = write_context(bundle, "backbone")
    (place / "cache").write_bytes(b"not listed")
    (place.parent / ".draft.17.part").symlink_to("renamed")
    honest_stat, honest_rmtree = Path.stat, shutil.rmtree

    def stat_and_vanish(path: Path, **options: Any) -> os.stat_result:
        status = honest_stat(path, **options)
        if path.name == "cache":
            path.unlink()
        return status

    def rmtree_twice(path: Path, ignore_errors: bool = False) -> None:
        honest_rmtree(path, ignore_errors=ignore_errors)
        honest_rmtree(path, ignore_errors=ignore_errors)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", stat_and_vanish)
        (context,) = describe(bundle).contexts
    assert context.problem is None and not (place / "cache").exists()
    assert prune(bundle) == ()
    (place / "context.onnx").write_bytes(b"other")
    monkeypatch.setattr(shutil, "rmtree", rmtree_twice)
    assert [context.folder for context in prune(bundle)] == [place]
    assert not place.exists()


def test_kernels_go_with_their_context_or_when_they_are_old_and_have_none(bundle: Path) -> None:
    """A young folder may be that of a context which is being compiled."""
    kept = write_context(bundle, "backbone")
    stale = write_context(bundle, "text_encoder", sound=False)
    target = kept.parent
    old, young = (target / f"{digit * 64}.kernels" for digit in "ab")
    others = target / "mine.kernels"
    for folder in (kept.with_suffix(".kernels"), stale.with_suffix(".kernels"), old, young, others):
        folder.mkdir()
        (folder / "kernels.bin").write_bytes(b"compiled")
        if folder != young:
            os.utime(folder, (TWO_DAYS_AGO, TWO_DAYS_AGO))
    prune(bundle)
    left = {kept.name, f"{kept.name}.kernels", young.name, others.name}
    assert {place.name for place in target.iterdir()} == left
