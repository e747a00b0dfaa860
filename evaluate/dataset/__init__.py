"""Labelled data from prompts: pictures with the map of every factor, checked and resumable.

    from fgdm.evaluate.dataset import Recipe, Setup, World, make_dataset

    make_dataset(Setup(Recipe(World(), seed=1), "bundles/scenes"), Path("data"), count=100)

``fgdm dataset`` is the command; docs/dataset.md has the files.
"""

from .agreement import ious as ious
from .balance import measure_balance as measure_balance
from .grammar import Grammar as Grammar
from .grammar import Words as Words
from .making import Maker as Maker
from .making import Setup as Setup
from .recipe import Accepted as Accepted
from .recipe import Recipe as Recipe
from .run import Outcome as Outcome
from .run import make_dataset as make_dataset
from .sample import Made as Made
from .sources import Listed as Listed
from .sources import Templates as Templates
from .sources import World as World
from .store import read_head as read_head
from .store import read_rejected as read_rejected
from .store import read_samples as read_samples
