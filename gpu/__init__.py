"""The GPU kit: every check that needs a card, prepared beforehand for a quarter of an hour on one.

``make gpu-kit`` fills build/gpu-kit on a machine with a network; ``gpu/run.sh`` runs the stages on
the machine with the card. docs/gpu.md says what each figure should be.
"""
