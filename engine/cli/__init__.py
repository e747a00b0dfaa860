"""The ``fgdm`` command: `command` has its sub-commands, each a module here or in its own room.

What several share: `arguments` (the forms of arguments), `opening` (which bundle, which runtime).
"""
