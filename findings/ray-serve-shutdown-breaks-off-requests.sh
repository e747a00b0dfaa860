#!/usr/bin/env bash
# serve.shutdown(), and Ctrl-C or SIGTERM of `serve run`, break off requests that are running; serve.delete() lets them end.
#
# Packages: ray[serve] 2.60.0.
# Documentation: replicas have graceful_shutdown_wait_loop_s and graceful_shutdown_timeout_s (20 s) for requests that are still running.
# Expected: whoever ends the service, requests that were accepted have that time.
# Seen: serve.delete(application) waits for them. serve.shutdown() does not: the proxy goes first, the client's connection is cut, and what
#   the replica made is lost.
# For diffusion models: a picture takes seconds, so every shutdown of a busy node loses some; the same is true of a pod that gets SIGTERM
#   with `serve run` in the foreground. Delete the applications first, then shut down.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check 'ray[serve]==2.60.0' httpx==0.28.1
cd "$place"
cat > check.py <<'END'
import asyncio
import os
import threading
import time

os.environ["RAY_AUTH_TOKEN"] = "a" * 64  # else Ray writes one to the home folder
import httpx
import ray
from ray import serve


@serve.deployment(graceful_shutdown_timeout_s=20)
class Slow:
    async def __call__(self, request):
        await asyncio.sleep(6)
        return "done"


ray.init(num_cpus=2, object_store_memory=100 * 2**20, include_dashboard=False, log_to_driver=False)
ended = {}
for number, way in enumerate(("delete", "shutdown")):
    serve.start(http_options={"host": "127.0.0.1", "port": 8463 + number})
    serve.run(Slow.bind(), name="slow", route_prefix="/")

    def ask(way=way, port=8463 + number):
        try:
            ended[way] = httpx.get(f"http://127.0.0.1:{port}/", timeout=60).text
        except httpx.HTTPError as error:
            ended[way] = type(error).__name__

    client = threading.Thread(target=ask)
    client.start()
    time.sleep(2)
    if way == "delete":
        serve.delete("slow")
        client.join()
    serve.shutdown()
    client.join()
    print(way, "->", ended[way])
ray.shutdown()
if ended["delete"] != "done" or ended["shutdown"] == "done":
    raise SystemExit("changed: expected delete to drain, and shutdown to break off")
print("as recorded: shutdown breaks off what delete lets end")
END
HOME="$place" "$place/venv/bin/python" check.py
