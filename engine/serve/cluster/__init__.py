"""The service on a Ray cluster: ``serve run fgdm.serve.cluster:app`` (docs/cluster.md).

Needs the packages of ``pip install 'fgdm[cluster]'``.
"""

from .application import app

__all__ = ["app"]
