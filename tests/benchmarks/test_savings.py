"""Settings are played through by the engine's rules."""

from __future__ import annotations

import numpy as np

from benchmarks.savings import Seen, Setting, play

#: Four candidates over four steps: 1 leads at first, 2 in the end, 0 and 3 hold nothing.
SEEN = Seen(
    recall=np.array(
        [[0.0, 0.5, 0.5, 0.0], [0.0, 0.5, 0.5, 0.0], [0.0, 1.0, 0.5, 0.0], [0.0, 0.5, 1.0, 0.0]]
    ),
    smallest_area=np.array([[0.0, 0.3, 0.2, 0.0]] * 4),
)


def test_everything_is_sampled_to_the_end() -> None:
    assert play(SEEN, Setting()) == (1.0, 4 * 4, 0)


def test_pruning_keeps_the_better_half() -> None:
    assert play(SEEN, Setting(prune=(1,))) == (1.0, 4 + 2 * 3, 4)
    # After step 1 both of .5 stay; after step 3 only the one that leads there.
    assert play(SEEN, Setting(prune=(1, 3))) == (0.5, 4 + 2 * 2 + 1, 4 + 2)


def test_a_winner_by_its_preview_is_finished_first() -> None:
    # Looked at after 2 and 3 of 4 steps: candidate 1 seems to have everything after step 3, but has
    # not in the end, so the others go on.
    assert play(SEEN, Setting(stop_at_recall=1.0)) == (1.0, 4 * 4, 4 + 4)
    kept = Seen(SEEN.recall[[0, 1, 3, 3]], SEEN.smallest_area)
    assert play(kept, Setting(stop_at_recall=1.0)) == (1.0, 4 * 3 + 1, 4 + 4)


def test_waves_go_on_until_a_finished_map_has_won() -> None:
    recall, taken, previews = play(SEEN, Setting(stop_at_recall=1.0, wave=1))
    assert recall == 1.0
    assert previews == 0, "nobody waits for what a preview would tell"
    assert taken == 3 * 4, "candidates 0, 1 and 2, one after another"
