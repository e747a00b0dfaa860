"""Settings that are clearly bad drop out, and only what keeps the bound with confidence passes."""

from __future__ import annotations

import numpy as np
import pytest
from fgdm.errors import BackendError
from fgdm.statistics import paired_difference
from fgdm.tuning.race import Bound, Setting, cheapest, race


def setting(name: str) -> Setting:
    return Setting(name, {}, {})


class Measured:
    """Gives each setting the qualities and seconds it was made with, and remembers the calls."""

    def __init__(self, **of: tuple[list[float], float]) -> None:
        self.of = of
        self.calls: list[tuple[int, str]] = []
        self.watched: list[tuple[int, int]] = []

    def __call__(self, prompt: int, tried: Setting) -> tuple[float, float]:
        qualities, seconds = self.of[tried.name]
        self.calls.append((prompt, tried.name))
        return qualities[prompt % len(qualities)], seconds

    def race(self, prompts: int, bound: Bound) -> dict[str, str]:
        settings = [setting(name) for name in self.of]
        self.judged, self.failures = race(
            settings, prompts, bound, self, lambda *seen: self.watched.append(seen)
        )
        return {entry.row.setting.name: entry.verdict for entry in self.judged}


def test_the_cheapest_that_keeps_the_bound_is_chosen() -> None:
    measured = Measured(
        careful=([1.0], 4.0),
        equal=([1.0], 2.0),
        worse=([0.9], 1.0),
        slow=([1.0], 5.0),
    )
    verdicts = measured.race(8, Bound("loss", 0.02))
    assert verdicts == {
        "careful": "passes",
        "equal": "passes",
        "worse": "dropped",
        "slow": "passes",
    }
    chosen = cheapest(measured.judged)
    assert chosen.row.setting.name == "equal"
    assert chosen.ratio.estimate == pytest.approx(0.5)


def test_what_is_clearly_bad_is_not_measured_to_the_end() -> None:
    measured = Measured(careful=([1.0], 4.0), worse=([0.5], 1.0))
    measured.race(20, Bound("loss", 0.02))
    assert sum(name == "worse" for _, name in measured.calls) == 4
    assert sum(name == "careful" for _, name in measured.calls) == 20
    assert measured.watched[0] == (1, 40)
    assert measured.watched[-1] == (24, 24), "the time left counts what dropped out no more"


def test_chance_is_no_reason_to_pass_or_to_drop_out() -> None:
    """Losses and gains that cancel out: the mean is within the bound, its interval isn't."""
    noise = [float(x) for x in np.random.default_rng(0).normal(0, 0.2, 12)]
    noise = [x - float(np.mean(noise)) for x in noise]
    measured = Measured(careful=([0.5], 4.0), noisy=([0.5 + x for x in noise], 1.0))
    assert measured.race(12, Bound("loss", 0.02))["noisy"] == "fails"
    assert cheapest(measured.judged).row.setting.name == "careful"


def test_pairs_are_what_is_compared() -> None:
    """Prompts differ far more than settings do."""
    hard = [0.0, 1.0, 0.25, 0.75]
    measured = Measured(careful=(hard, 2.0), close=([x - 0.01 for x in hard], 1.0))
    assert measured.race(8, Bound("loss", 0.02))["close"] == "passes"


def test_a_least_quality_is_of_the_setting_itself() -> None:
    measured = Measured(careful=([168.0], 4.0), near=([30.0, 32.0], 2.0), far=([20.0, 22.0], 1.0))
    verdicts = measured.race(8, Bound("least", 25.0))
    assert verdicts == {"careful": "passes", "near": "passes", "far": "dropped"}


def test_the_careful_one_is_first_and_the_others_take_turns() -> None:
    measured = Measured(careful=([1.0], 1.0), a=([1.0], 1.0), b=([1.0], 1.0))
    measured.race(2, Bound("loss", 0.02))
    assert [name for _, name in measured.calls] == ["careful", "a", "b", "careful", "b", "a"]


def test_where_nothing_can_be_lost_nothing_passes() -> None:
    """Of a bundle, or a judge, that finds nothing, every setting is as good as the careful one."""
    measured = Measured(careful=([0.0], 4.0), cheap=([0.0], 1.0))
    assert measured.race(8, Bound("loss", 0.02)) == {"careful": "passes", "cheap": "fails"}
    measured = Measured(careful=([0.0, 0.1], 4.0), cheap=([0.0, 0.1], 1.0))
    assert measured.race(8, Bound("loss", 0.02))["cheap"] == "passes"


def test_what_the_runtime_can_not_do_drops_out() -> None:
    measured = Measured(careful=([1.0], 4.0), late=([1.0], 1.0), never=([1.0], 1.0))

    def run(prompt: int, tried: Setting) -> tuple[float, float]:
        if tried.name == "never" or (tried.name == "late" and prompt == 2):
            raise BackendError("not finite")
        return measured(prompt, tried)

    settings = [setting(name) for name in measured.of]
    judged, failures = race(settings, 8, Bound("loss", 0.02), run, lambda *_: None)
    assert [(entry.row.setting.name, entry.verdict) for entry in judged] == [
        ("careful", "passes"),
        ("late", "dropped"),
    ]
    assert failures == ["late failed: not finite", "never failed: not finite"]
    with pytest.raises(BackendError):
        race(settings[2:], 8, Bound("loss", 0.02), run, lambda *_: None)


def test_few_prompts_that_happen_to_agree_are_not_trusted_as_many_are() -> None:
    """The mean loss is .012; by the plain percentiles of eight prompts .02 would be kept."""
    losses = [0.0, 0.02, 0.02, 0.0, 0.02, 0.02, 0.0, 0.016]
    few = Measured(careful=([1.0], 4.0), close=([1 - loss for loss in losses], 1.0))
    plain = paired_difference([-loss for loss in losses], [0.0] * 8)
    assert plain.low > -0.0185
    assert few.race(8, Bound("loss", 0.0185))["close"] == "fails"
    many = Measured(careful=([1.0], 4.0), close=([1 - loss for loss in losses], 1.0))
    assert many.race(40, Bound("loss", 0.0185))["close"] == "passes"
