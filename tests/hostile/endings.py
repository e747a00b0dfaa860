"""Programs that end in every way while an engine works: pure text, and what each must end with."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

_HEAD = """
import asyncio, atexit, multiprocessing, os, signal, sys, threading, time
from fgdm import Engine
import fgdm
OPTIONS = dict(candidates=8, condition_steps=200, num_inference_steps=200, seed=1)
def open_engine():
    return Engine({bundle!r}, backend="cpu", threads=1)
engine = open_engine()
"""

#: What goes on when the program ends.
STATES = {
    "idle": "",
    "in flight": "job = engine.submit('a dog', **OPTIONS)",
    "callback": "job = engine.submit('a dog', step_callback=lambda info: False, **OPTIONS)",
    "slow callback": "job = engine.submit('a dog', step_callback=lambda i: time.sleep(.05), "
    "**OPTIONS)",
    "when done": "job = engine.submit('a dog', **OPTIONS); job.when_done(lambda: time.time())",
    "previews": "job = engine.submit('a dog', step_callback=lambda i: i.preview() is None, "
    "**OPTIONS)",
    "many": "jobs = [engine.submit('a dog', **OPTIONS) for _ in range(20)]",
    "two engines": "other = open_engine(); jobs = [e.submit('a dog', **OPTIONS) "
    "for e in (engine, other)]",
    "daemon thread": "threading.Thread(target=lambda: engine.generate('a dog', **OPTIONS), "
    "daemon=True).start()",
    "closed": "engine.submit('a dog', **OPTIONS); engine.close()",
}

#: How it ends: code, and the exit codes that are right; negative is the signal.
ENDINGS = {
    "falls off the end": ("", (0,)),
    "sys.exit": ("sys.exit(3)", (3,)),
    "exception": ("raise ValueError('as it should')", (1,)),
    "os._exit": ("os._exit(4)", (4,)),
    "Ctrl-C": ("os.kill(os.getpid(), signal.SIGINT); time.sleep(5)", (-2, 130)),
    "Ctrl-C in generate": (
        "threading.Timer(.05, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "engine = open_engine(); engine.generate('a dog', **{**OPTIONS, 'candidates': 900})",
        (-2, 130),
    ),
    "terminated": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)", (-15,)),
    "asyncio and Ctrl-C": (
        "engine = open_engine()\nasync def main():\n"
        "    asyncio.get_running_loop().call_later(.05, os.kill, os.getpid(), signal.SIGINT)\n"
        "    await engine.submit('a dog', **{**OPTIONS, 'candidates': 900})\n"
        "asyncio.run(main())",
        (-2, 130),
    ),
    "atexit uses the engine": (
        "@atexit.register\ndef late():\n    try:\n"
        "        engine.generate('a dog', candidates=1, condition_steps=1, num_inference_steps=1, "
        "deadline=3)\n"
        "    except fgdm.Error:\n        pass",
        (0,),
    ),
    "the last reference goes": ("del engine", (0,)),
    "fork, child exits": (
        "pid = os.fork()\nif pid == 0:\n    sys.exit(5)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5",
        (0,),
    ),
    "fork, child falls off the end": (
        "pid = os.fork()\nif pid:\n"
        "    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0",
        (0,),
    ),
    "fork, child uses the engine": (
        "pid = os.fork()\nif pid == 0:\n    try:\n        engine.generate('a dog')\n"
        "    except fgdm.Error:\n        sys.exit(6)\n    sys.exit(7)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 6",
        (0,),
    ),
    "pool of forks": (
        "if True:\n    with multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "        assert pool.map(abs, [-1, 2]) == [1, 2]",
        (0,),
    ),
    "pool of spawned processes": (
        "if True:\n    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        assert pool.map(abs, [-1, 2]) == [1, 2]",
        (0,),
    ),
    "streams are closed": ("sys.stdin.close(); sys.stdout.close(); sys.stderr.close()", (0,)),
    "standard output on a full disk": (
        "os.dup2(os.open('/dev/full', os.O_WRONLY), 1)\nprint('lost')",
        (1, 120),  # as Python ends itself: at once without a buffer, at its flush with one
    ),
    "thread ends the process": ("threading.Thread(target=os._exit, args=(8,)).start()\n"
    "time.sleep(5)", (8,)),
}  # fmt: skip

#: Seconds between beginning and end.
DELAYS = (0.0, 0.03)


@dataclass(frozen=True)
class Ending:
    """A program; `codes` are those it may end with."""

    name: str
    program: str
    codes: tuple[int, ...]


def endings(bundle: str) -> list[Ending]:
    """Every state with every ending at every delay, the most different first."""
    made = []
    pairs = list(itertools.product(STATES.items(), ENDINGS.items(), DELAYS))
    for (state, begin), (ending, (end, codes)), delay in pairs:
        wait = f"time.sleep({delay})\n" if delay else ""
        program = _HEAD.format(bundle=bundle) + begin + "\n" + wait + end + "\n"
        made.append(Ending(f"{state}; {ending}; after {delay} s", program, codes))
    stride = 37  # prime to their number, so that a slice meets every state and ending
    return [made[i * stride % len(made)] for i in range(len(made))]
