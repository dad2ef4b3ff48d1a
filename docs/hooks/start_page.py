"""The start page's phase diagram: the report's scripts and colours, plotly, and a store's numbers.

`docs/images/mnist-conv2.json` holds what a report shows of one problem; made from a store by
`experiments/page/start_page.py`, which says by which commands.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

from subspan.report.page import asset, plotly
from subspan.report.page_data import script_json

DOCS = Path(__file__).parents[1]
DATA = DOCS / "images" / "mnist-conv2.json"
SCRIPTS = ("frame.js", "figures.js", "controls.js")


def on_files(files: Any, config: Any) -> Any:
    """Add what the figure needs to the site: nothing of it comes from elsewhere."""
    parts = [asset(name) for name in SCRIPTS] + [(DOCS / "start_page.js").read_text("utf-8")]
    script = '(() => {\n"use strict";\n' + "\n".join(parts) + "})();\n"
    made = {
        "figure/plotly.js": plotly(),
        "figure/phase.js": script,
        "figure/colours.css": asset("colours.css"),
    }
    for place, text in made.items():
        files.append(File.generated(config, place, content=text))
    return files


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Give the start page the numbers, and the scripts that draw them once the page is there."""
    if page.file.src_uri != "index.md":
        return output
    numbers = script_json(json.loads(DATA.read_text("utf-8")))
    return output.replace(
        "</body>",
        f'<script type="application/json" id="data">{numbers}</script>\n'
        '<script src="figure/plotly.js" defer></script>\n'
        '<script src="figure/phase.js" defer></script>\n</body>',
    )
