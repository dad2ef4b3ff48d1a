"""The first screen of a report as a picture: what README and the site show.

The store, half an hour of one core:

    G=accuracy>=0.3,accuracy>=0.4,accuracy>=0.5,accuracy>=0.6,accuracy>=0.7,accuracy>=0.8,
      accuracy>=0.85,accuracy>=0.9,accuracy>=0.95 (on one line, quoted)
    for m in random burn-in:64; do
        subspan surface digits-mlp --method $m --dims 8,16,32,64,91,128,181,256,512 --repeats 8 \
            --goals "loss<=1,loss<=0.5,loss<=0.25,loss<=0.1,loss<=0.05" --store runs.db
    done
    subspan threshold digits-mlp --goal "loss<=0.1" --store runs.db
    subspan predict digits-mlp --goal "loss<=0.1" --store runs.db
    subspan surface mnist-conv2 --subset 5000 --data-dir DATA --repeats 5 \
        --dims 16,32,64,128,181,256,362,512,724,1024,2048 --goals "$G" --store runs.db
    subspan surface mnist-mlp --subset 5000 --data-dir DATA --repeats 5 \
        --dims 16,32,64,128,256,512,1024,2048,4096 --goals "$G" --store runs.db
    subspan report runs.db --out report.html
    python experiments/page/screenshot.py report.html docs/images/report.png mnist-conv2
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("problem", help="part of the name of the problem that is chosen")
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = browser.new_page(viewport={"width": 1100, "height": 1480})
        page.set_default_timeout(180_000)
        page.goto(arguments.page.resolve().as_uri())
        page.wait_for_selector("#phase .heatmaplayer image")
        texts = page.locator("#problem option").all_text_contents()
        page.select_option(
            "#problem", str(next(i for i, t in enumerate(texts) if arguments.problem in t))
        )
        page.wait_for_timeout(2000)
        page.screenshot(path=arguments.out)
        browser.close()
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
