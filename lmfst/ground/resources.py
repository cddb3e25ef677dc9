"""Where the shipped grammars and data lie: inside a wheel, or beside the package in a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lmfst.ground.errors import LmfstError


def resource_dir(kind: Literal["grammars", "data"]) -> Path:
    """The folder of the shipped `kind` of files; LmfstError if the installation lacks it."""
    package = Path(__file__).resolve().parents[1]
    installed, checkout = package / kind, package.parent / kind
    if installed.is_dir():
        return installed
    # A folder of that name beside an installed package would be someone else's.
    if checkout.is_dir() and (package.parent / "pyproject.toml").is_file():
        return checkout
    raise LmfstError(
        f"expected the folder {kind} at {installed} or {checkout}, found neither",
        hint="install lmfst again",
    )
