"""The words and phrases of a prompt that mean a class."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WORD = re.compile(r"[a-z0-9\x80-\U0010ffff]+")


def normal_form(phrase: str) -> str:
    """The phrase as the core's object finder sees it: lower-case words with single spaces.

    A word is a run of letters, digits and non-ASCII characters: "Wall-Brick" is "wall brick".
    """
    return " ".join(_WORD.findall(phrase.lower()))


def add_plurals(classes: Iterable[list[str]], claimed: Iterable[str] = ()) -> None:
    """Append each form's plural to its class's forms, unless a class has that phrase already, or
    it is one of `claimed`."""
    import inflect  # noqa: PLC0415  # the command line's --help need not wait for it

    engine = inflect.engine()
    forms_of = list(classes)
    taken = {form for forms in forms_of for form in forms} | set(claimed)
    for forms in forms_of:
        for form in list(forms):
            plural = engine.plural_noun(form)
            is_plural_already = form.endswith("s") and plural == form + "s"
            if plural and plural not in taken and not is_plural_already:
                taken.add(plural)
                forms.append(plural)
