"""Names that packages export, and what the public ones say of themselves."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import lmfst

PACKAGES = [
    "lmfst",
    *(found.name for found in pkgutil.walk_packages(lmfst.__path__, "lmfst.") if found.ispkg),
]


def brought_in(package: str) -> set[str]:
    """Public names that a package's __init__ imports from lmfst's own modules."""
    source = Path(str(importlib.import_module(package).__file__)).read_text("utf-8")
    names: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lmfst"):
            names |= {alias.asname or alias.name for alias in node.names}
    own = {found.name for found in pkgutil.iter_modules(importlib.import_module(package).__path__)}
    return {name for name in names - own if not name.startswith("_")}


@pytest.mark.parametrize("package", PACKAGES)
def test_exported_names_are_there(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__doc__, f"{package} doesn't say what lives there"
    exported = getattr(module, "__all__", [])
    assert len(exported) == len(set(exported))
    for name in exported:
        assert getattr(module, name) is not None
    assert brought_in(package) <= {*exported}, "imported to be used elsewhere, but not exported"


def test_public_names_say_what_they_are() -> None:
    assert {"load", "TransducedLM", "LM", "LmfstError", "__version__"} <= set(lmfst.__all__)
    for name in lmfst.__all__:
        value = getattr(lmfst, name)
        if callable(value):
            inherited = {base.__doc__ for base in getattr(value, "__mro__", ())[1:]}
            said = inspect.getdoc(value)
            assert said and said not in inherited, name
            assert not said.startswith(f"{name}("), f"{name}: a docstring that dataclass made"
    assert set(lmfst.__all__) <= set(dir(lmfst))


def test_unknown_names_are_errors() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = lmfst.nonsense
