"""Size of the report of a store of many trials, and the time until its first picture in Chromium.

    python benchmarks/report_page.py [--trials 100000] [--opened 3]

The trials are made up: three problems, two methods, three learning rates, ten dims; losses that
fall with d and a curve of twelve evaluations each. The law: at most 10 MB, and at most 2 s from
opening the file to the picture of the phase diagram, the median of some openings, by the page's
own marks (User Timing: from the start of the navigation until a frame with it was shown). How long
it takes until plotly has drawn it again, with hover, is told beside it. Without Chromium and
playwright only the size is told.

Where the time goes: plotly's 4.8 MB are parsed, compiled and run on the page's main thread, about
0.8 s of a processor, and 0.7 s more where a debugger such as playwright listens (V8 then looks up
the positions of every stack that is caught while plotly starts). So the first picture does not
wait for it.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import subspan as ss
from subspan.streams import normals
from subspan.training.outcome import CurvePoint, Outcome
from subspan.trials.trial import Trial, TrialRecord

DIMS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
PROBLEMS = {"digits-mlp": 2410, "mnist-mlp": 199_210, "mnist-conv2": 20_490}
METHODS = (
    {"name": "random", "map": "hadamard"},
    {"name": "burn-in", "steps": 64, "map": "hadamard"},
)
LRS = (0.01, 0.05, 0.25)
EVALUATIONS = 12
MEGABYTES, SECONDS = 10.0, 2.0
PICTURES = ("first picture", "plotly's picture")
MARKS = """names => {
    const marks = names.map((name) => performance.getEntriesByName(name)[0]?.startTime);
    return marks.every((at) => at > 0) && marks;
}"""


def records(trials: int) -> Iterator[TrialRecord]:
    """Trials of all cells in turn."""
    cells = [
        (problem, method, lr, dim)
        for problem in PROBLEMS
        for method in METHODS
        for lr in LRS
        for dim in DIMS
        if dim <= PROBLEMS[problem]
    ]
    noise = normals(0, "report-page", count=trials)
    for index in range(trials):
        problem, method, lr, dim = cells[index % len(cells)]
        needed = 60 * (1 + abs(math.log(lr / 0.05))) * (0.4 if "steps" in method else 1)
        end = 2.3 * math.exp(-((dim * math.exp(0.2 * noise[index]) / needed) ** 0.8)) + 0.003
        losses = [2.3 * (end / 2.3) ** (k / (EVALUATIONS - 1)) for k in range(EVALUATIONS)]
        curve = tuple(
            CurvePoint(k * 50, {"train:loss": loss, "train:accuracy": math.exp(-loss)})
            for k, loss in enumerate(losses)
        )
        spec = ss.TrainSpec(lr=lr, steps=550, schedule="linear").to_json()
        trial = Trial({"name": problem}, method, dim, spec, 0, index // len(cells))
        yield TrialRecord(trial, PROBLEMS[problem], Outcome.FINISHED, 550, curve, 1.0, 0.01)


def seconds_to_pictures(page: Path, opened: int) -> dict[str, list[float]] | None:
    """Open a page some times, each in a new context; None without a browser.

    Returns:
        Seconds to the first picture and to plotly's, one of each an opening.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if chromium is None:
        return None
    found: dict[str, list[float]] = {name: [] for name in PICTURES}
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        for _ in range(opened):
            context = browser.new_context(viewport={"width": 1100, "height": 900})
            view = context.new_page()
            view.goto(page.as_uri(), wait_until="commit")
            view.wait_for_selector("html[data-ready]", timeout=120_000)
            marks = view.wait_for_function(MARKS, arg=PICTURES, timeout=120_000).json_value()
            for name, at in zip(PICTURES, marks, strict=True):
                found[name].append(at / 1000)
            context.close()
        browser.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--opened", type=int, default=3)
    parser.add_argument("--page", type=Path, help="where the page stays, or one to open again")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = arguments.page or Path(folder) / "report.html"
        if not page.exists():
            store = Path(folder) / "runs.db"
            with ss.Store(store) as opened:
                opened.add_all(list(records(arguments.trials)))
            began, spent = time.perf_counter(), time.process_time()
            ss.report.write_page(store, page)
            took = time.perf_counter() - began, time.process_time() - spent
            print(f"written in {took[0]:.0f} s, {took[1]:.0f} s of a processor")
        size = page.stat().st_size / 1e6
        print(f"{date.today()}, {arguments.trials:,} trials, load {os.getloadavg()[0]:.1f}")
        print(f"page: {size:.1f} MB")
        times = seconds_to_pictures(page, arguments.opened)
        good = size <= MEGABYTES
        if times is None:
            print("first picture: not measured (no chromium, or no playwright)")
        else:
            middles = {name: statistics.median(some) for name, some in times.items()}
            for name, some in times.items():
                listed = ", ".join(f"{t:.2f}" for t in some)
                print(f"{name}: {middles[name]:.2f} s (of {listed})")
            good = good and middles["first picture"] <= SECONDS
    if not good:
        sys.exit(f"the law: at most {MEGABYTES:g} MB and {SECONDS:g} s")


if __name__ == "__main__":
    main()
