"""Write docs/supported.md: `python -m tests.supported`."""

from __future__ import annotations

from .page import PATH, page

if __name__ == "__main__":
    PATH.write_text(page(), encoding="utf-8")
    print(f"wrote {PATH}")
