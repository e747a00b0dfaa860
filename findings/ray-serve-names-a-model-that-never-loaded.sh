#!/usr/bin/env bash
# A client that leaves while Ray Serve loads a multiplexed model leaves behind a replica that says it has that model, and never had it.
#
# Packages: ray[serve] 2.60.0.
# Documentation: @serve.multiplexed loads a model when a request asks for it, keeps those used last, and routes later requests for it to
#   replicas that have it.
# Expected: a load that was cancelled, because its client went away, is forgotten like one that failed.
# Seen: the loader is cancelled with the request. A load that raises an error is taken off the list of models that are being loaded, a
#   cancelled one is not: from then on the replica reports the model to the routers, which send requests for it there.
# For diffusion models: loading a checkpoint takes seconds to minutes, in which clients give up; the router's affinity then points at a
#   replica that has to load it again, and a name that nobody asks for any more is never taken off. Loads that are shielded from
#   the request's cancellation (asyncio.shield) end, and are named rightly.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check 'ray[serve]==2.60.0' httpx==0.28.1
cd "$place"
cat > check.py <<'END'
import asyncio
import os
import time

os.environ["RAY_AUTH_TOKEN"] = "a" * 64  # else Ray writes one to the home folder
import httpx
import ray
from ray import serve


@serve.deployment(max_ongoing_requests=10)
class Models:
    @serve.multiplexed(max_num_models_per_replica=2)
    async def load(self, name):
        await asyncio.sleep(0.1 if name == "broken" else 3)
        if name == "broken":
            raise OSError("no such checkpoint")
        return name

    async def __call__(self, request):
        if request.url.path == "/state":
            wrapper = getattr(self, "__serve_multiplex_wrapper")
            return {"named": sorted(wrapper._get_loading_and_loaded_model_ids()), "loaded": sorted(wrapper.models)}
        return await self.load(serve.get_multiplexed_model_id())


def ask(name, timeout):
    try:
        httpx.get(f"{address}/", headers={"serve_multiplexed_model_id": name}, timeout=timeout)
    except httpx.TimeoutException:
        print(f"the client of {name} left")


ray.init(num_cpus=2, object_store_memory=100 * 2**20, include_dashboard=False, log_to_driver=False)
serve.start(http_options={"host": "127.0.0.1", "port": 8462})
address = "http://127.0.0.1:8462"
serve.run(Models.bind())
ask("whole", 30)
ask("broken", 30)
ask("left", 1)
time.sleep(5)
state = httpx.get(f"{address}/state", timeout=30).json()
print(state)
serve.shutdown()
ray.shutdown()
if state != {"named": ["left", "whole"], "loaded": ["whole"]}:
    raise SystemExit("changed: expected the model that was left to be named, and not loaded")
print("as recorded: a model is named that was never loaded")
END
HOME="$place" "$place/venv/bin/python" check.py
