"""The engine on a real (tiny, random) bundle: what a result holds, and that it repeats."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fgdm._core", reason="the C++ core is not built")

from fgdm import (
    BackendError,
    BundleError,
    CancelledError,
    Engine,
    MapInfo,
    RequestError,
    StepInfo,
    machine,
)

from tests.engine.endings import python

PROMPT = "two dogs and a ball on the grass"
QUICK: dict[str, Any] = {"candidates": 3, "condition_steps": 3, "num_inference_steps": 4}


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Iterator[Engine]:
    with Engine(tiny_bundle, backend="cpu") as opened:
        yield opened


def test_a_result_holds_everything(engine: Engine) -> None:
    result = engine.generate(PROMPT, seed=1, **QUICK)
    assert result.image.size == (64, 64)
    assert result.map.size == (32, 32)
    assert result.labels.shape == (32, 32)
    assert list(result.requested) == ["dog", "ball", "grass"]
    assert sorted([*result.found, *result.missing]) == sorted(result.requested)
    assert len(result.candidates) == 3
    best = max(candidate.recall for candidate in result.candidates)
    assert result.recall == best == result.candidates[result.chosen].recall
    stages = {"text_encoder", "adapter", "backbone", "controlnet", "hint", "vae_decoder", "core"}
    assert stages < set(result.timings)
    parts = sum(result.timings[stage] for stage in result.timings.keys() - {"total", "queue"})
    assert parts == pytest.approx(result.timings["total"])


def test_a_prompt_says_what_is_forbidden_and_what_was_not_read(engine: Engine) -> None:
    prompt = "a ball without grass " + "and a very big sky " * 30 + "and two dogs"
    result = engine.generate(prompt, candidates=1, condition_steps=1, num_inference_steps=1)
    assert "ball" in result.requested and "dog" not in result.requested
    assert result.excluded == ("grass",)
    assert result.unread == ("dog",)
    assert result.truncated and prompt.endswith(result.truncated)
    assert result.negative_truncated == ""
    found = engine.find_objects("no dogs, only a ball")
    assert (found.requested, found.excluded) == (["ball"], ["dog"])


def test_none_takes_every_default(engine: Engine) -> None:
    from fgdm.request import RequestOptions  # noqa: PLC0415

    options: dict[str, Any] = {**dict.fromkeys(RequestOptions.__annotations__), **QUICK, "seed": 1}
    given = engine.generate(PROMPT, **options)
    assert given.image.tobytes() == engine.generate(PROMPT, seed=1, **QUICK).image.tobytes()


def test_a_guidance_scale_up_to_one_is_no_guidance(engine: Engine) -> None:
    """As in diffusers, which runs the prompt alone then; so the negative prompt changes nothing."""
    pictures = {
        engine.generate(
            PROMPT,
            seed=1,
            guidance="cfg",
            guidance_scale=scale,
            condition_guidance_scale=scale,
            negative_prompt=negative,
            **QUICK,
        ).image.tobytes()
        for scale in (0.0, 0.5, 1.0)
        for negative in ("", "a big ball")
    }
    assert len(pictures) == 1


def test_the_same_seed_gives_the_same_picture(engine: Engine) -> None:
    first, second = (engine.generate(PROMPT, seed=5, **QUICK) for _ in range(2))
    other = engine.generate(PROMPT, seed=6, **QUICK)
    assert np.array_equal(np.asarray(first.image), np.asarray(second.image))
    assert not np.array_equal(np.asarray(first.image), np.asarray(other.image))


def test_a_candidate_does_not_depend_on_its_company(engine: Engine) -> None:
    many = engine.generate(PROMPT, seed=5, **{**QUICK, "candidates": 5})
    alone = engine.generate(PROMPT, seed=5, **{**QUICK, "candidates": 1})
    a = np.asarray(many.candidates[0].map).astype(int)
    b = np.asarray(alone.candidates[0].map).astype(int)
    assert (a == b).mean() > 0.99  # rounding may move a pixel across a border


def test_more_candidates_than_a_batch_holds(engine: Engine) -> None:
    result = engine.generate(
        PROMPT, seed=2, candidates=40, condition_steps=1, num_inference_steps=1
    )
    assert len(result.candidates) == 40


def test_given_latents_replace_the_noise(engine: Engine) -> None:
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((1, 4, 16, 16)).astype(np.float32)
    maps = rng.standard_normal((3, 4, 8, 8)).astype(np.float32)
    pictures = [
        np.asarray(
            engine.generate(PROMPT, seed=s, latents=latents, condition_latents=maps, **QUICK).image
        )
        for s in (1, 2)
    ]
    assert np.array_equal(pictures[0], pictures[1])


def test_latents_in_another_order_are_refused(engine: Engine) -> None:
    """As many numbers are no reason to take them."""
    image, maps = np.zeros((1, 16, 16, 4), np.float32), np.zeros((3, 8, 8, 4), np.float32)
    given: dict[str, dict[str, Any]] = {
        r"latents has shape \(1, 16, 16, 4\), expected \(1, 4, 16, 16\)": {"latents": image},
        r"condition_latents has shape \(3, 8, 8, 4\), expected": {"condition_latents": maps},
        r"segmentation.* latents has shape": {"factors": {"segmentation": {"latents": maps}}},
    }
    for message, options in given.items():
        with pytest.raises(RequestError, match=message):
            engine.generate(PROMPT, **options, **QUICK)


def test_the_step_callback_sees_every_step_and_can_stop(engine: Engine) -> None:
    seen: list[tuple[str, int, tuple[int, ...]]] = []

    def look(step: Any) -> None:
        seen.append((step.factor, step.step, step.predicted_x0().shape))

    engine.generate(PROMPT, seed=1, step_callback=look, **QUICK)
    assert seen == [("segmentation", i, (3, 4, 8, 8)) for i in range(3)] + [
        ("image", i, (1, 4, 16, 16)) for i in range(4)
    ]
    with pytest.raises(CancelledError, match="step 2 of factor segmentation"):
        engine.generate(PROMPT, step_callback=lambda step: step.step == 1, **QUICK)


def test_an_exception_in_the_callback_reaches_the_caller(engine: Engine) -> None:
    def fail(step: Any) -> None:
        raise ZeroDivisionError(step.factor)

    with pytest.raises(ZeroDivisionError, match="segmentation"):
        engine.generate(PROMPT, step_callback=fail, **QUICK)
    assert engine.generate(PROMPT, **QUICK).image  # the engine lives on


def test_the_map_callback_sees_maps_as_they_are_looked_at(engine: Engine) -> None:
    seen: list[MapInfo] = []
    result = engine.generate(PROMPT, seed=1, map_callback=seen.append, prune=[2], **QUICK)
    assert [info.chosen for info in seen] == [False] * (len(seen) - 1) + [True]
    early = [info for info in seen if info.candidate.steps == 2]
    assert [info.candidate.index for info in early] == [0, 1, 2]
    last, chosen = seen[-1], result.candidates[result.chosen]
    assert last.factor == "segmentation" and last.num_steps == 3
    assert last.candidate.to_json() == chosen.to_json()
    assert np.array_equal(last.candidate.labels, chosen.labels)
    assert last.candidate.map.tobytes() == chosen.map.tobytes()


def test_the_map_callback_sees_a_map_that_was_given(engine: Engine) -> None:
    labels = np.zeros((32, 32), np.uint8)
    seen: list[MapInfo] = []
    engine.generate(
        PROMPT, map_callback=seen.append, factors={"segmentation": {"map": labels}}, **QUICK
    )
    assert [(info.candidate.steps, info.num_steps, info.chosen) for info in seen] == [(0, 0, True)]
    assert not seen[0].candidate.labels.any()


def test_the_map_callback_can_stop_and_its_exception_reaches_the_caller(engine: Engine) -> None:
    with pytest.raises(CancelledError, match="map callback"):
        engine.generate(PROMPT, map_callback=lambda info: info.chosen, **QUICK)

    def fail(info: MapInfo) -> None:
        raise ZeroDivisionError(info.factor)

    with pytest.raises(ZeroDivisionError, match="segmentation"):
        engine.generate(PROMPT, map_callback=fail, **QUICK)
    with pytest.raises(RequestError, match="map_callback must be a function, got int"):
        engine.submit(PROMPT, map_callback=3)  # type: ignore[arg-type]
    assert engine.generate(PROMPT, **QUICK).image  # the engine lives on


def test_engines_of_a_process_outlive_each_other(tiny_bundle: Path) -> None:
    """They share the runtime's environment."""
    pictures = []
    first = Engine(tiny_bundle, backend="cpu")
    second = Engine(tiny_bundle, backend="cpu")
    pictures.append(first.generate(PROMPT, seed=5, **QUICK).image)
    first.close()
    with second, Engine(tiny_bundle, backend="cpu") as third:
        pictures += [engine.generate(PROMPT, seed=5, **QUICK).image for engine in (second, third)]
    for picture in pictures[1:]:
        assert np.array_equal(np.asarray(picture), np.asarray(pictures[0]))


def test_a_job_can_be_cancelled(engine: Engine) -> None:
    started = threading.Event()
    job = engine.submit(
        PROMPT,
        candidates=16,
        condition_steps=900,
        step_callback=lambda step: started.set(),
    )
    assert started.wait(30)
    assert not job.done()
    job.cancel()
    with pytest.raises(CancelledError):
        job.result()


def test_jobs_queue_and_closing_cancels_them(tiny_bundle: Path) -> None:
    engine = Engine(tiny_bundle, backend="cpu")
    jobs = [engine.submit(PROMPT, condition_steps=500) for _ in range(4)]
    engine.close()
    for job in jobs:
        with pytest.raises(CancelledError):
            job.result()


@pytest.mark.parametrize("guidance", ["cfg", "segfree"])
@pytest.mark.parametrize("sampler", ["ddim", "dpmsolver++"])
def test_every_guidance_and_sampler(engine: Engine, guidance: str, sampler: str) -> None:
    result = engine.generate(PROMPT, seed=1, guidance=guidance, sampler=sampler, **QUICK)
    assert result.parameters["guidance"] == guidance
    assert result.parameters["sampler"] == sampler


def test_every_step_of_a_stochastic_sampler_has_noise_of_the_seed(engine: Engine) -> None:
    options = {**QUICK, "sampler": "euler_ancestral", "condition_sampler": "lcm"}
    first, again, other = (engine.generate(PROMPT, seed=s, **options) for s in (1, 1, 2))
    plain = engine.generate(PROMPT, seed=1, **{**options, "sampler": "euler"})
    assert first.image.tobytes() == again.image.tobytes()
    assert first.image.tobytes() != other.image.tobytes()
    assert first.image.tobytes() != plain.image.tobytes()


def test_the_engine_warns_of_few_leading_steps(engine: Engine) -> None:
    assert any("segmentation: 10 steps of ddim with leading" in note for note in engine.notes)
    assert not any(note.startswith("image:") for note in engine.notes)


def timesteps(engine: Engine, **options: Any) -> dict[str, list[float]]:
    """Those that a request visits, by factor."""
    seen: dict[str, list[float]] = {"segmentation": [], "image": []}

    def watch(info: StepInfo) -> None:
        seen[info.factor].append(info.timestep)

    engine.generate(PROMPT, seed=1, step_callback=watch, **QUICK, **options)
    return seen


def test_maps_have_a_sampler_of_their_own(engine: Engine) -> None:
    ddim, solver = timesteps(engine), timesteps(engine, condition_sampler="dpmsolver++")
    assert ddim["image"] == solver["image"]
    assert ddim["segmentation"] != solver["segmentation"]
    assert timesteps(engine, sampler="dpmsolver++")["segmentation"] == ddim["segmentation"]


def test_maps_and_the_image_have_their_own_spacing(engine: Engine) -> None:
    leading = timesteps(engine)
    image = timesteps(engine, timestep_spacing="trailing")
    maps = timesteps(engine, condition_timestep_spacing="trailing")
    own = timesteps(engine, factors={"segmentation": {"timestep_spacing": "trailing"}})
    assert leading["image"][0] < 999 and leading["segmentation"][0] < 999
    assert image["image"][0] == 999 and image["segmentation"] == leading["segmentation"]
    assert maps["segmentation"][0] == 999 and maps["image"] == leading["image"]
    assert own == maps


def test_a_map_that_overflows_fails_alone(engine: Engine) -> None:
    noise = np.zeros((3, 4, 8, 8), np.float32)
    noise[1] = 1e38
    result = engine.generate(PROMPT, seed=1, condition_latents=noise, **QUICK)
    assert [candidate.failed for candidate in result.candidates] == [False, True, False]
    failed = result.candidates[1]
    assert (failed.found, failed.steps) == ((), 1)
    assert (failed.labels == 255).all() and failed.map.size == result.map.size
    assert result.chosen != 1


def test_other_sizes(engine: Engine) -> None:
    result = engine.generate(PROMPT, seed=1, height=96, width=128, **QUICK)
    assert result.image.size == (128, 96)
    assert result.map.size == (64, 48)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": "x" * 10_000_000}, "10000000 bytes"),
        ({"prompt": "a \udcff dog"}, "character 2 is the lone surrogate U[+]DCFF"),
        ({"candidates": 0}, "candidates is 0, expected 1 to 1000"),
        ({"candidates": 10_000}, "candidates is 10000, expected 1 to 1000"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan"),
        ({"segfree_scale": float("inf")}, "segfree_scale is inf"),
        ({"height": 100}, "multiple of 32"),
        ({"guidance": "none"}, '"segfree" or "cfg"'),
        ({"sampler": "heun"}, 'sampler is "heun", expected "ddim", "dpmsolver'),
        ({"condition_sampler": "heun"}, 'condition_sampler is "heun"'),
        (
            {"timestep_spacing": "beta"},
            'timestep_spacing is "beta", expected "leading", "trailing", "linspace", "karras" or',
        ),
        (
            {"sampler": "ddim", "timestep_spacing": "karras"},
            'timestep_spacing is "karras", which sampler "ddim"',
        ),
        ({"condition_timestep_spacing": ""}, 'condition_timestep_spacing is "", expected "lead'),
        ({"factors": {"segmentation": {"timestep_spacing": "x"}}}, 'timestep_spacing is "x"'),
        ({"objects": ["unicorn"]}, 'names "unicorn", which palette "tiny" does not have'),
        ({"latents": np.zeros((4, 16, 16), np.float32)}, "has 3 dimensions, expected 4"),
        ({"latents": np.zeros((1, 4, 8, 8), np.float32)}, r"expected \(1, 4, 16, 16\)"),
    ],
)
def test_bad_requests_are_refused_in_words(
    engine: Engine, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        engine.submit(**{"prompt": PROMPT, **options})


def test_every_file_of_a_bundle_is_guarded(tiny_bundle: Path, tmp_path: Path) -> None:
    """One flipped byte in any file, or half of it, is a BundleError that names the file."""
    copy = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, copy)
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    assert len(files) > 15
    for path in files:
        original = path.read_bytes()
        damaged = bytearray(original)
        damaged[len(damaged) // 2] ^= 0x10
        for content in (damaged, original[: len(original) // 2]):
            path.write_bytes(content)
            with pytest.raises(BundleError, match=re.escape(path.name)):
                Engine(copy, backend="cpu")
        path.write_bytes(original)
    Engine(copy, backend="cpu").close()


def test_the_environment_names_the_runtime(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = machine.choose_library(machine.find_runtimes(), "cpu")
    monkeypatch.setenv("FGDM_ONNXRUNTIME", installed)
    Engine(tiny_bundle).close()
    monkeypatch.setenv("FGDM_ONNXRUNTIME", "/nowhere/libonnxruntime.so")
    with pytest.raises(BackendError, match="/nowhere/libonnxruntime"):
        Engine(tiny_bundle)


def test_without_a_wheel_the_core_looks_for_the_runtime(tiny_bundle: Path, tmp_path: Path) -> None:
    """In processes of their own, for one that has opened a library finds it again."""
    program = (
        "import fgdm\n"
        "from fgdm import machine\n"
        "machine.find_runtimes = lambda: ()\n"
        f"fgdm.Engine({str(tiny_bundle)!r}).close()\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "FGDM_ONNXRUNTIME"}
    environment["LD_LIBRARY_PATH"] = str(tmp_path)
    library = tmp_path / "libonnxruntime.so.1"
    library.symlink_to(machine.choose_library(machine.find_runtimes(), "cpu"))
    done = python(program, environment)
    assert done.returncode == 0, done.stderr
    library.unlink()
    library.write_bytes(b"no library")
    done = python(program, environment)
    assert "BackendError: ONNX Runtime could not be opened" in done.stderr
    assert "FGDM_ONNXRUNTIME" in done.stderr


def test_a_missing_backend_says_what_to_install(tiny_bundle: Path) -> None:
    with pytest.raises(BackendError, match="install onnxruntime-gpu in place of onnxruntime"):
        Engine(tiny_bundle, backend="cuda")
    with pytest.raises(RequestError, match='"auto", "cpu"'):
        Engine(tiny_bundle, backend="abacus")
    with pytest.raises(BackendError, match="FGDM_ONNXRUNTIME"):
        Engine(tiny_bundle, library="/nowhere/libonnxruntime.so")
