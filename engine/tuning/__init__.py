"""``fgdm tune``: the cheapest settings of a bundle that keep its quality on the user's prompts.

settings.py says what is tried, race.py how settings are measured beside each other, search.py does
one stage after the other, prompts.py reads prompts, defaults.py writes what was chosen.
"""
