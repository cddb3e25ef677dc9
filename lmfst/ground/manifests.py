"""Where the manifest of an output is, which says what made it."""

from __future__ import annotations

import os
from pathlib import Path


def manifest_of(path: str | Path) -> Path:
    """`OUT.manifest.json` beside an output, where a link leads if it is one."""
    out = Path(os.path.realpath(path))
    return out.with_name(out.name + ".manifest.json")
