#!/usr/bin/env bash
# invisible-watermark turns fine lines of colour by 90 degrees: vertical stripes of a pixel come out horizontal.
#
# Packages: invisible-watermark 0.2.0 (methods dwtDct and dwtDctSvd), PyWavelets 1.9.0. Its import of torch serves rivaGan alone;
#   an empty module stands for it here.
# Documentation: PyWavelets' dwt2 returns (cA, (cH, cV, cD)), and idwt2 takes the same order. The package promises an "invisible" mark.
# Expected: the mark aside, the picture that went in: blue differs between neighbouring columns, and not between rows.
# Seen: encode takes dwt2 apart as (h, v, d) and gives idwt2 (v, h, d). The horizontal and the vertical details of the marked
#   channel, U, change places: blue stripes of one pixel, 130 apart, lie in rows afterwards. The mark is still read.
# For diffusion models: diffusers' Stable Diffusion XL pipelines mark every picture with dwtDct where the package is installed.
#   Edges of blue against yellow get a fringe a pixel wide; smooth pictures show nothing. Evaluate pictures without the mark.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 opencv-python-headless==5.0.0.93 PyWavelets==1.9.0
"$place/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps invisible-watermark==0.2.0
cd "$place"
"$place/venv/bin/python" - <<'END'
import sys
import types

import numpy as np

sys.modules["torch"] = types.ModuleType("torch")
from imwatermark import WatermarkDecoder, WatermarkEncoder

stripes = np.zeros((512, 512, 3), np.uint8)  # blue, green, red
stripes[:, 0::2] = (220, 128, 90)
stripes[:, 1::2] = (90, 128, 120)


def across(picture, axis):
    """The mean difference of blue between neighbours."""
    return np.abs(np.diff(picture[..., 0].astype(int), axis=axis)).mean()


print(f"before     columns {across(stripes, 1):5.1f}, rows {across(stripes, 0):5.1f}")
for method in ("dwtDct", "dwtDctSvd"):
    encoder = WatermarkEncoder()
    encoder.set_watermark("bytes", b"marked")
    marked = encoder.encode(stripes, method)
    columns, rows = across(marked, 1), across(marked, 0)
    print(f"{method:10} columns {columns:5.1f}, rows {rows:5.1f}")
    if columns > 20 or rows < 100:
        raise SystemExit(f"changed: {method} leaves stripes as they lie")
if WatermarkDecoder("bytes", 48).decode(marked, "dwtDctSvd") != b"marked":
    raise SystemExit("changed: the mark of dwtDctSvd isn't read")
print("as recorded: vertical stripes of blue lie in rows afterwards")
END
