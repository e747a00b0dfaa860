"""Protects how settings are written: what they mean, and what is refused with words."""

from __future__ import annotations

import pytest
from fgdm.errors import RequestError
from fgdm.evaluate.settings import (
    Setting,
    make_settings,
    option_from_text,
    setting_from_text,
    sweep_from_text,
)


def test_a_sweep_is_every_combination_after_the_named_settings() -> None:
    """Section 5.1 of the paper: a and the start, beside classifier-free guidance."""
    settings = make_settings(
        [setting_from_text('cfg={"guidance": "cfg"}')],
        [sweep_from_text("segfree_scale=0,10"), sweep_from_text("segfree_start=0.25,0.5")],
        {"candidates": 3},
    )
    assert [setting.name for setting in settings] == [
        "cfg",
        "segfree_scale=0, segfree_start=0.25",
        "segfree_scale=0, segfree_start=0.5",
        "segfree_scale=10, segfree_start=0.25",
        "segfree_scale=10, segfree_start=0.5",
    ]
    assert settings[0].options == {"candidates": 3, "guidance": "cfg"}
    assert settings[-1].options == {"candidates": 3, "segfree_scale": 10, "segfree_start": 0.5}


def test_values_are_json_or_plain_names() -> None:
    assert option_from_text("stop_at_recall=0") == ("stop_at_recall", 0)
    assert option_from_text("guidance_interval=[0, 0.8]") == ("guidance_interval", [0, 0.8])
    assert sweep_from_text("sampler=ddim,unipc") == ("sampler", ["ddim", "unipc"])


def test_without_any_there_is_one_of_the_common_options() -> None:
    assert make_settings([], [], {"wave": 2}) == [Setting("defaults", {"wave": 2})]


@pytest.mark.parametrize("text", ["cfg", "={}", "cfg=", "cfg=[1]", "cfg={", "cfg=1"])
def test_what_is_no_setting_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"NAME=OBJECT"):
        setting_from_text(text)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"colour": 1}, "no option 'colour'"),
        ({"seed": 1}, "decides for every prompt"),
        ({"segfree_scale": "much"}, "must be a number"),
    ],
)
def test_options_are_checked_before_any_work(options: dict[str, object], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        Setting("own", options)


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(RequestError, match="two settings are called 'a'"):
        make_settings([("a", {}), ("a", {"wave": 2})], [], {})
