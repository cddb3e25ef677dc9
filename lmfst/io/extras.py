"""Libraries that not everybody has: they come with an extra, such as `lmfst[parquet]`."""

from __future__ import annotations

import importlib
from typing import Any

from lmfst.ground.errors import InputError


def extra(module: str, name: str, what: str) -> Any:
    """A module of the extra `name`. InputError if it isn't installed; what: what needs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        library = module.split(".")[0]
        raise InputError(
            f"{what}: expected the package {library}, which can't be imported: {error}",
            hint=f"pip install lmfst[{name}]",
        ) from None
