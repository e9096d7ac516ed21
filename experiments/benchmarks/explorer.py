"""First paint and scrolling of `bloodcell explore` in a browser, on images with made-up predictions.

  uv run --group dev python experiments/benchmarks/explorer.py path/to/blood-cells

Prints one line of JSON. First paint is the time from the start of the navigation until the grid shows tiles
(`images_s`) and their first pictures (`pictures_s`); `command_s` is the time until the server answers. Scrolling turns
the wheel through the grid and measures the time between two frames, in milliseconds; `page_cpu_ms_per_frame` is the
processor time of the page's main thread, which does not depend on what else the machine does. With `--cold` no
thumbnail is cached before.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from playwright.sync_api import CDPSession, Page, sync_playwright

SCROLLED, STEP, PAUSE = 400, 160, 8
"""Turns of the wheel, pixels of each, and milliseconds between them: twenty thousand pixels in a second."""
FRAMES = """() => {
  window.frames_ = []; let last = performance.now();
  const tick = (now) => { window.frames_.push(now - last); last = now; window.ticking_ = requestAnimationFrame(tick); };
  window.ticking_ = requestAnimationFrame(tick);
  window.long_ = [];
  const keep = (list) => window.long_.push(...list.getEntries().map((each) => each.duration));
  new PerformanceObserver(keep).observe({ type: 'longtask' });
}"""


def main() -> None:
    """Serve the images, open the page, scroll, and print the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("--cold", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.cold:
            os.environ["XDG_CACHE_HOME"] = folder
        print(json.dumps({"load": round(os.getloadavg()[0], 1), **measure(arguments.images.absolute(), Path(folder))}))


def measure(images: Path, folder: Path) -> dict[str, Any]:
    """Return the times."""
    n = write_predictions(images, folder / "made_up.csv")
    started = time.perf_counter()
    command = [sys.executable, "-m", "bloodcell", "explore", "runs=[made_up.csv]", f"images={images}", "port=0"]
    server = subprocess.Popen([*command, "open=false"], cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        address = next(found.group() for line in server.stdout or () if (found := re.search(r"http://\S+", line)))
        command_s = time.perf_counter() - started
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium") or shutil.which("google-chrome"), args=["--no-sandbox"]
            )
            page = browser.new_page(viewport={"width": 1280, "height": 860})
            found = {"images": n, "command_s": round(command_s, 2), **opened(page, address), **scrolled(page)}
            browser.close()
            return found
    finally:
        server.terminate()
        server.wait()


def write_predictions(images: Path, file: Path) -> int:
    """Write predictions of all images below a folder of classes; return the number of images."""
    paths = sorted([*images.glob("TRAIN/*/*"), *images.glob("TEST/*/*")])
    labels = np.array([path.parent.name for path in paths])
    classes = np.unique(labels)
    logits = np.random.default_rng(0).normal(size=(len(paths), len(classes)))
    logits[np.arange(len(paths)), np.searchsorted(classes, labels)] += 2
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    table = pd.DataFrame(probabilities, columns=[f"p_{name}" for name in classes])
    table = table.assign(path=[path.relative_to(images).as_posix() for path in paths], label=labels)
    table.assign(group=[f"{number // 35}" for number in range(len(paths))]).to_csv(file, index=False)
    return len(paths)


def opened(page: Page, address: str) -> dict[str, float]:
    """Open the page; return the seconds until tiles, and their pictures, are there."""
    page.goto(address, wait_until="commit")
    shown = "[...document.querySelectorAll('.tile img')].slice(0, 12)"
    # Not `wait_for_function`, which the page's security policy refuses.
    while not page.evaluate(f"{shown}.length && {shown}.every((each) => each.complete && each.naturalWidth)"):
        time.sleep(0.01)
    pictures = page.evaluate("performance.now()")
    marks = page.evaluate(
        "[performance.getEntriesByName('images')[0].startTime, "
        "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN]"
    )
    return {
        "first_contentful_paint_s": round(marks[1] / 1000, 2),
        "images_s": round(marks[0] / 1000, 2),
        "pictures_s": round(pictures / 1000, 2),
    }


def scrolled(page: Page) -> dict[str, float]:
    """Scroll through the grid; return quantiles of the time between frames, and tasks longer than 50 ms."""
    page.wait_for_timeout(2000)
    page.mouse.move(800, 500)
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    before = processor_seconds(devtools)
    page.evaluate(FRAMES)
    for _ in range(SCROLLED):
        page.mouse.wheel(0, STEP)
        page.wait_for_timeout(PAUSE)
    frames, long_tasks, top = page.evaluate("[window.frames_, window.long_, document.getElementById('grid').scrollTop]")
    busy = processor_seconds(devtools) - before
    times = np.array(frames)
    return {
        "scrolled_px": round(top),
        "frames": len(times),
        "frame_ms_median": round(float(np.median(times)), 1),
        "frame_ms_p95": round(float(np.quantile(times, 0.95)), 1),
        "frame_ms_p99": round(float(np.quantile(times, 0.99)), 1),
        "frame_ms_max": round(float(times.max()), 1),
        "page_cpu_ms_per_frame": round(1000 * busy / len(times), 2),
        "long_tasks": len(long_tasks),
        "long_task_ms_max": round(float(max(long_tasks, default=0)), 1),
    }


def processor_seconds(devtools: CDPSession) -> float:
    """Return the processor time of the page's main thread, which other programs do not change."""
    metrics = devtools.send("Performance.getMetrics")["metrics"]
    return float(next(each["value"] for each in metrics if each["name"] == "TaskDuration"))


if __name__ == "__main__":
    main()
