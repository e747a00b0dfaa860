"""The names of the one op of ours, as graphs, plugins and parsers know it."""

OP_DOMAIN = "fgdm"
OP_NAME = "SegFreeAttention"
OP_VERSION = 1
