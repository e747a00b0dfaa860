"""The studio's page: first paint, bytes, strokes, undo, painting again: python -m benchmarks.studio

Prints a table and writes JSON. First paint is of a page that isn't cached. Strokes are pointer
events on a map of 512x512, each timed until its pixels are on the canvas; recall follows in the
next frame and is timed by itself. Painting again is timed from the click until the picture is
decoded, against the engine's own time for it, and in turns with an engine in this process.
"""

from __future__ import annotations

import json
import statistics
import time
import urllib.request
from typing import Any

from fgdm.engine import Engine
from playwright.sync_api import Browser, Page, Route

from benchmarks.browser import chromium, opened, service, until_painted
from benchmarks.command import PROMPT, make_parser
from benchmarks.machine import write_results

Figures = dict[str, float]

_STROKE = """
() => {
  document.querySelector("#tools [data-tool=brush]").click();
  const view = document.getElementById("map-view");
  const box = view.getBoundingClientRect();
  const seconds = [];
  const send = (kind, i) => {
    const clientX = box.left + box.width * (0.5 + 0.4 * Math.sin(i / 9));
    const clientY = box.top + box.height * (0.5 + 0.4 * Math.cos(i / 7));
    const event = new PointerEvent(kind, { pointerId: 1, clientX, clientY, bubbles: true });
    const began = performance.now();
    view.dispatchEvent(event);
    return performance.now() - began;
  };
  view.setPointerCapture = () => {};
  for (let stroke = 0; stroke < 10; stroke++) {
    send("pointerdown", 50 * stroke);
    for (let i = 1; i < 50; i++) seconds.push(send("pointermove", 50 * stroke + i));
    seconds.push(send("pointerup", 50 * stroke + 49));
  }
  return seconds;
}
"""

_RECALL = """
async () => {
  const { map, measure } = await import("/studio/edit/regions.js");
  const labels = map(512, 512);
  const seconds = [];
  for (let i = 0; i < 200; i++) {
    const began = performance.now();
    measure(labels, [1, 2, 3]);
    seconds.push(performance.now() - began);
  }
  return seconds;
}
"""

_UNDO = """
async () => {
  const { map } = await import("/studio/edit/regions.js");
  const { stroke } = await import("/studio/edit/strokes.js");
  const { MapDocument } = await import("/studio/document.js");
  const doc = new MapDocument({ output: "labels", name: "m" }, map(512, 512), []);
  let most = 0;
  for (let i = 0; i < 1000; i++) {
    doc.begin();
    doc.drawn(stroke(doc.labels, [[(37 * i) % 512, 0], [(91 * i) % 512, 512]], 12, i % 23));
    doc.end();
    most = Math.max(most, doc.history.bytes + 2 * doc.labels.data.length);
  }
  return most;
}
"""

_PAINT = """
() => new Promise((resolve) => {
  const image = document.querySelector("#picture-panel .after");
  const began = performance.now();
  image.addEventListener("load", () => resolve(performance.now() - began), { once: true });
  document.getElementById("paint").click();
})
"""


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--runs", type=int, default=7, help="of painting again, and of loading")
    args = parser.parse_args()
    threads = str(args.threads)
    with (
        service(args.bundle, "--threads", threads, "--backend", args.backend) as address,
        Engine(args.bundle, threads=args.threads, backend=args.backend) as engine,
        chromium() as browser,
    ):
        figures = {
            **_loading(browser, address, args.runs),
            **_strokes(browser, address),
            **_painting(browser, address, engine, args.runs),
        }
    for name, value, most in (
        ("first paint, ms", figures["first_paint_ms"], 300),
        ("bytes of the page, KB", figures["page_bytes"] / 1000, 250),
        ("a stroke's event on 512x512, p95, ms", figures["stroke_p95_ms"], 8),
        ("1,000 strokes with undo, MB", figures["undo_bytes"] / 1e6, 100),
        ("painting again / the engine's own pass", figures["paint_ratio"], 1.05),
        ("the same, an engine alone in turns", figures["paint_ratio_in_turns"], 1.05),
    ):
        print(f"{name:42} {value:8.2f}   at most {most:g}")
    write_results(args.output, {"studio": figures})


def _loading(browser: Browser, address: str, runs: int) -> Figures:
    paints, sizes = [], []
    for _ in range(runs):
        context = browser.new_context()
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("html[data-ready]", state="attached")
        found: dict[str, Any] = page.evaluate(
            """() => ({
              paint: performance.getEntriesByName("first-contentful-paint")[0].startTime,
              bytes: [...performance.getEntriesByType("resource"),
                ...performance.getEntriesByType("navigation")]
                .filter(({ name }) => !name.includes("/v1/"))
                .reduce((sum, { transferSize }) => sum + transferSize, 0),
            })"""
        )
        paints.append(found["paint"])
        sizes.append(found["bytes"])
        context.close()
    return {"first_paint_ms": statistics.median(paints), "page_bytes": max(sizes)}


def _strokes(browser: Browser, address: str) -> Figures:
    def enlarge(route: Route) -> None:
        answer = route.fetch()
        content = answer.json()
        for bundle in content["bundles"]:
            for factor in bundle["factors"]:
                factor["width"] = factor["height"] = 512
        route.fulfill(response=answer, json=content)

    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.route("**/v1/studio/bundles", enlarge)
    page.goto(address)
    page.wait_for_selector("html[data-ready]", state="attached")
    page.fill("#prompt", PROMPT)
    page.wait_for_selector("#objects .chip")
    milliseconds = sorted(page.evaluate(_STROKE))
    assert page.locator("#map-view .pixels").get_attribute("width") == "512"
    recall = sorted(page.evaluate(_RECALL))
    bytes_ = page.evaluate(_UNDO)
    page.close()
    return {
        "stroke_p50_ms": milliseconds[len(milliseconds) // 2],
        "stroke_p95_ms": milliseconds[int(0.95 * len(milliseconds))],
        "recall_p50_ms": recall[len(recall) // 2],
        "recall_p95_ms": recall[int(0.95 * len(recall))],
        "undo_bytes": bytes_,
    }


def _painting(browser: Browser, address: str, engine: Engine, runs: int) -> Figures:
    """Against the time that the service's engine took for the same request, and against another
    engine's in turns."""
    page = opened(browser, address)
    labels = engine.generate(PROMPT, candidates=1, seed=1).labels
    followed: list[str] = []
    page.on("request", lambda sent: followed.append(sent.url) if "/events" in sent.url else None)
    _generate(page)
    in_page, inside, alone = [], [], []
    for _ in range(runs):
        in_page.append(page.evaluate(_PAINT) / 1000)
        page.wait_for_selector("html:not([data-busy])", state="attached")
        with urllib.request.urlopen(followed[-1]) as events:
            last = json.loads(events.read().partition(b"data: ")[2])
        inside.append(last["facts"][0]["timings"]["total"])
        began = time.perf_counter()
        engine.generate(PROMPT, seed=1, factors={"segmentation": {"map": labels}})
        alone.append(time.perf_counter() - began)

    def ratio(others: list[float]) -> float:
        return float(statistics.median(a / b for a, b in zip(in_page, others, strict=True)))

    return {
        "paint_seconds": statistics.median(in_page),
        "paint_ratio": ratio(inside),
        "paint_ratio_in_turns": ratio(alone),
    }


def _generate(page: Page) -> None:
    page.fill("#prompt", PROMPT)
    page.fill("#candidates", "1")
    page.fill("#seed", "1")
    page.click("#generate")
    until_painted(page)


if __name__ == "__main__":
    main()
