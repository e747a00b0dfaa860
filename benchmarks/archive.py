"""What opening a bundle's archive takes, beside its folder, each in a process of its own.

python -m benchmarks.archive bundles/scenes
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from fgdm.packing import pack

_CHILD = """
import json, re, sys, time
import fgdm

def memory():
    text = open("/proc/self/status").read()
    read = lambda name: int(re.search(name + r":\\s+(\\d+)", text).group(1)) // 1024
    return {"own": read("RssAnon"), "most": read("VmHWM")}

start = time.process_time()
with fgdm.Engine(sys.argv[1], backend="cpu", threads=1) as engine:
    seconds = time.process_time() - start
    opened = memory()
    engine.generate("two dogs beside a house", seed=3, candidates=4, condition_steps=2,
                    num_inference_steps=2, stop_at_recall=0.0)
    print(json.dumps({"processor_seconds": round(seconds, 2), "open": opened, "used": memory()}))
"""


def main() -> None:
    """Prints a line of JSON for the folder and one for the archive, memory in MB."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    bundle = parser.parse_args().bundle
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "bundle.fgdm"
        pack(bundle, archive)
        for name, place in (("folder", bundle), ("archive", archive)):
            made = subprocess.run(
                [sys.executable, "-c", _CHILD, str(place)],
                capture_output=True,
                encoding="utf-8",
                check=True,
            )
            print(json.dumps({"bundle": name, **json.loads(made.stdout)}))


if __name__ == "__main__":
    main()
