"""Engines behind HTTP: OpenAI's image routes, jobs of our own, metrics (docs/serving.md).

Needs the packages of ``pip install 'fgdm[serve]'``. `app.create_app` makes the ASGI application of
engines that are open; ``fgdm serve`` opens bundles and runs it.
"""
