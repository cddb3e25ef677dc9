"""Where the checkout and the data of the tests are."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY / "tests" / "data"
SCRIPTS = REPOSITORY / "scripts"
