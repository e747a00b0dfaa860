"""The same graph on two runtimes: how far apart they are, and in which layer that begins."""
