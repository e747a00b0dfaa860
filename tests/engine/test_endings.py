"""However a program ends, and wherever an engine is used, nothing crashes and nothing hangs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fgdm import exits
from fgdm.cli import command
from fgdm.engine import Engine
from fgdm.errors import BackendError, RequestError

from tests.engine.endings import PROGRAMS, python, run

QUICK: dict[str, Any] = {"candidates": 1, "condition_steps": 2, "num_inference_steps": 2, "seed": 1}
PROMPT = "a dog and a ball on the grass"


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Iterator[Engine]:
    with Engine(tiny_bundle, backend="cpu", threads=1) as opened:
        yield opened


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_ends_as_it_would_without_us(name: str, tiny_bundle: Path) -> None:
    ending = run(name, tiny_bundle)
    assert not ending.crashed, ending
    assert ending.status == PROGRAMS[name][1], ending.errors


def test_a_child_that_was_forked_within_a_call_exits_at_once() -> None:
    """It leaves a call that it has forgotten, and waits for none, which would be 30 seconds."""
    program = (
        "import os, sys\n"
        "from fgdm import open_engines\n"
        "with open_engines.call():\n"
        "    child = os.fork()\n"
        "if child:\n"
        "    sys.exit(os.waitpid(child, 0)[1] != 0)\n"
    )
    done = python(program, timeout=20)
    assert done.returncode == 0, done.stderr


def test_a_sub_interpreter_is_refused() -> None:
    """By us, or by a package that we need."""
    program = (
        "try:\n    import _xxsubinterpreters as i\nexcept ImportError:\n"
        "    import _interpreters as i\n"
        "import sys\n"
        "try:\n"
        "    print(i.run_string(i.create(), 'import sys; sys.modules[\"numpy\"] = sys\\n'\n"
        "                       'import fgdm._core'))\n"
        "except BaseException as error:\n    print(error)\n"
    )
    done = python(program)
    assert done.returncode == 0, done.stderr
    assert "interpreter" in done.stdout + done.stderr


def test_a_callback_cannot_wait_for_itself(engine: Engine) -> None:
    refused: list[str] = []

    def inside(info: Any) -> None:
        job = engine.submit(PROMPT, **QUICK)
        uses: list[Callable[[], object]] = [
            lambda: engine.generate(PROMPT, **QUICK),
            lambda: engine.profile([2], 1),
            job.result,
            lambda: job.wait(5),
        ]
        for use in uses:
            with pytest.raises(RequestError, match="callback"):
                use()
            refused.append(info.factor)
        assert not job.wait(0)
        job.cancel()

    engine.generate(PROMPT, step_callback=inside, **QUICK)
    assert len(refused) == 4 * 4


def test_when_done_cannot_wait_either(engine: Engine) -> None:
    found: list[BaseException] = []
    told = threading.Event()

    def after() -> None:
        try:
            engine.generate(PROMPT, **QUICK)
        except RequestError as error:
            found.append(error)
        told.set()

    job = engine.submit(PROMPT, candidates=2, condition_steps=20, seed=1)
    job.when_done(after)
    assert told.wait(60)
    assert "callback" in str(found[0])


def test_an_engine_may_be_closed_in_its_callback(tiny_bundle: Path) -> None:
    engine = Engine(tiny_bundle, backend="cpu", threads=1)
    job = engine.submit(PROMPT, step_callback=lambda _: engine.close(), **QUICK)
    assert job.wait(60)
    with pytest.raises(RequestError, match="closed"):
        engine.submit(PROMPT)


def test_a_step_may_be_read_by_other_threads_but_not_previewed(engine: Engine) -> None:
    kept: list[Any] = []
    with ThreadPoolExecutor(1) as pool:

        def look(info: Any) -> None:
            kept.append(info)
            assert pool.submit(lambda: info.step).result() == info.step
            assert np.isfinite(pool.submit(info.predicted_x0).result()).all()
            assert info.preview().ndim == 3
            with pytest.raises(RequestError, match="thread"):
                pool.submit(info.preview).result()

        engine.generate(PROMPT, step_callback=look, **QUICK)
    for use in (lambda: kept[0].step, kept[0].predicted_x0, kept[0].preview):
        with pytest.raises(RequestError, match="inside the step callback"):
            use()


def test_every_engine_has_the_threads_it_asked_for(tiny_bundle: Path) -> None:
    """In a process of its own, where nothing else starts or ends threads."""
    program = (
        "import os, fgdm\n"
        f"bundle = {str(tiny_bundle)!r}\n"
        "count = lambda: len(os.listdir('/proc/self/task'))\n"
        "first = fgdm.Engine(bundle, backend='cpu', threads=1)\n"
        "alone = count()\n"
        "second = fgdm.Engine(bundle, backend='cpu', threads=3)\n"
        "later = {'vae_encoder', 'backbone_shallow_1', 'backbone_shallow_2'}\n"
        "graphs = len(second.manifest['graphs'].keys() - later)\n"
        "assert count() - alone == 1 + 2 * graphs, (alone, count(), graphs)\n"
        "second.close()\n"
        "assert count() == alone, (alone, count())\n"
    )
    done = python(program)
    assert done.returncode == 0, done.stderr


def test_nothing_is_reported_to_anybody(tiny_bundle: Path, tmp_path: Path) -> None:
    """ONNX Runtime 1.31's telemetry keeps a device number in the user's cache."""
    environment = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    program = f"import fgdm; fgdm.Engine({str(tiny_bundle)!r}, backend='cpu').close()"
    done = python(program, environment | {"HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("*"))


def test_the_callers_arithmetic_stays_as_it_is(tiny_bundle: Path) -> None:
    """Denormal numbers, which a runtime can switch off for the thread that opens it."""
    program = (
        "import fgdm, numpy as np\n"
        "tiny = np.full(64, 1e-310)\n"
        f"engine = fgdm.Engine({str(tiny_bundle)!r}, backend='cpu', threads=1)\n"
        f"engine.generate({PROMPT!r}, **{QUICK!r})\n"
        "engine.close()\n"
        "assert (tiny / 2 > 0).all() and 5e-324 * 1.0 > 0\n"
    )
    done = python(program)
    assert done.returncode == 0, done.stderr


def test_a_profile_that_is_named_must_be_there(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no file"):
        Engine(tiny_bundle, backend="cpu", profile=tmp_path / "mistyped.json")


def test_precision_is_the_graphs_own(tiny_bundle: Path, tiny_fp16_bundle: Path) -> None:
    with Engine(tiny_fp16_bundle, backend="cpu") as engine:
        assert engine.info.precision == "fp16"
        assert engine.generate(PROMPT, **QUICK).engine.precision == "fp16"
    with Engine(tiny_fp16_bundle, backend="cpu", precision="fp16") as engine:
        assert engine.info.precision == "fp16"
    for bundle, asked in ((tiny_bundle, "fp16"), (tiny_fp16_bundle, "fp32")):
        with pytest.raises(BackendError, match="export the bundle"):
            Engine(bundle, backend="cpu", precision=asked)
    with pytest.raises(RequestError, match='expected "auto", "fp32", "fp16" or "bf16"'):
        Engine(tiny_bundle, backend="cpu", precision="float32")


def test_profiles_that_are_stored_together_are_all_kept(tiny_bundle: Path, tmp_path: Path) -> None:
    """Each thread count is a key of its own, and four processes add theirs at once."""
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for path in tiny_bundle.iterdir():
        (bundle / path.name).symlink_to(path)
    words = [sys.executable, "-m", "fgdm", "profile", str(bundle), "--rows", "2"]
    words += ["--repeats", "1", "--backend", "cpu"]
    running = [
        subprocess.Popen([*words, "--threads", str(threads)], stdout=subprocess.DEVNULL)
        for threads in (1, 2, 3, 4)
    ]
    assert [process.wait(120) for process in running] == [0] * 4
    stored = json.loads((bundle / "plans" / "profile.json").read_text())
    assert len(stored["profiles"]) == 4
    assert command.main(["inspect", str(bundle)]) == 0


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, exits.CANCELLED), (signal.SIGTERM, exits.TERMINATED)]
)
def test_a_command_that_is_told_to_end_leaves_nothing(
    number: signal.Signals, status: int, tiny_bundle: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "fgdm", "generate", "a dog", "--bundle", str(tiny_bundle)]
    command += ["--output", str(tmp_path / "new/out"), "--backend", "cpu"]
    command += ["--condition-steps", "300", "--stop-at-recall", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("step" in line for line in process.stderr)  # as it is at work
        process.send_signal(number)
        assert process.wait(60) == status
    assert not list(tmp_path.iterdir())


def test_pipes_are_not_waited_for(tiny_bundle: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RequestError, match=r"trace: .*pipe can't be written"):
        Engine(tiny_bundle, backend="cpu", trace=tmp_path / "pipe")
    with pytest.raises(BackendError, match="it is a pipe"):
        Engine(tiny_bundle, backend="cpu", library=tmp_path / "pipe")


def test_arguments_of_other_types_are_refused(engine: Engine) -> None:
    with pytest.raises(RequestError, match="step_callback must be a function, got int"):
        engine.submit("a dog", step_callback=5)  # type: ignore[arg-type]
    job = engine.submit("a dog", candidates=1, condition_steps=1, num_inference_steps=1)
    with pytest.raises(RequestError, match="when_done takes a function, got NoneType"):
        job.when_done(None)  # type: ignore[arg-type]
    for timeout in ("a", 10**5000, float("nan")):
        with pytest.raises(RequestError, match="timeout must be a number"):
            job.wait(timeout)  # type: ignore[arg-type]
    assert job.wait(60)
