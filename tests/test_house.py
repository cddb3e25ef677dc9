"""The house's own rules, held by reading its source: sizes, no circles, who imports what."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import lmfst

HOUSE = Path(lmfst.__file__).resolve().parent
FILES = sorted(HOUSE.rglob("*.py"))
MOST_LINES, MOST_OF_CLASS, MOST_OF_FUNCTION, MOST_OF_KERNEL = 400, 200, 50, 80

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _name(path: Path) -> str:
    parts = path.relative_to(HOUSE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): ast.parse(path.read_text("utf-8")) for path in FILES}


def _is_kernel(node: ast.AST) -> bool:
    """Whether numba compiles a function."""
    decorators = getattr(node, "decorator_list", [])
    names = {n.id for d in decorators for n in ast.walk(d) if isinstance(n, ast.Name)}
    names |= {n.attr for d in decorators for n in ast.walk(d) if isinstance(n, ast.Attribute)}
    return bool(names & {"njit", "jit", "vectorize", "guvectorize", "kernel", "fused_kernel"})


def too_long(path: Path) -> Iterator[str]:
    """What of a file is longer than it may be, one line each."""
    where, text = path.relative_to(HOUSE).as_posix(), path.read_text("utf-8")
    lines = len(text.splitlines())
    if lines > MOST_LINES:
        yield f"{where}: {lines} lines, at most {MOST_LINES}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            most = MOST_OF_CLASS
        elif isinstance(node, Function):
            most = MOST_OF_KERNEL if _is_kernel(node) else MOST_OF_FUNCTION
        else:
            continue
        lines = (node.end_lineno or 0) - node.lineno + 1
        if lines > most:
            yield f"{where}:{node.lineno}: {node.name} has {lines} lines, at most {most}"


def test_modules_classes_and_functions_are_short() -> None:
    found = [problem for path in FILES for problem in too_long(path)]
    assert not found, "\n".join(found)


def test_what_is_too_long_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_house.HOUSE", tmp_path)
    long = "def f():\n" + "    x = 1\n" * 50
    kernel = "@numba.njit(cache=True)\n" + "def g():\n" + "    x = 1\n" * 50
    whole = "class C:\n" + "    x = 1\n" * 200
    (tmp_path / "a.py").write_text(long + kernel + whole + "\n" * 200)
    assert list(too_long(tmp_path / "a.py")) == [
        "a.py: 504 lines, at most 400",
        "a.py:1: f has 51 lines, at most 50",
        "a.py:104: C has 201 lines, at most 200",
    ]


def imports(name: str) -> set[str]:
    """The modules of the house that a module imports anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in MODULES}
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= full & MODULES.keys()
            if full - MODULES.keys():
                found.add(node.module)
    return found - {name}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of a cycle, its first one at the end again; empty if there is none."""
    done: set[str] = set()

    def look(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for target in sorted(graph[name]):
            found = look(target, [*path, name])
            if found:
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := look(name, []))), [])


def test_no_module_imports_itself_by_way_of_others() -> None:
    found = circle({name: imports(name) for name in MODULES})
    assert not found, " → ".join(found)


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_imports_are_absolute() -> None:
    """What the other tests don't see."""
    found = [
        f"{name}:{node.lineno}"
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not found


def _imported(tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    """(first part of a module's name, statement) of all imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0], node


def test_grammar_alone_imports_pynini() -> None:
    found = {
        name
        for name, tree in MODULES.items()
        for library, _ in _imported(tree)
        if library in ("pynini", "_pynini") and not name.startswith("lmfst.grammar.")
    }
    assert not found


def test_openfst_is_imported_in_functions_of_fst_and_grammar_alone() -> None:
    found = []
    for name, tree in MODULES.items():
        inside = {
            id(node)
            for outer in ast.walk(tree)
            if isinstance(outer, Function)
            for node in ast.walk(outer)
        }
        for library, node in _imported(tree):
            if library not in ("pywrapfst", "_pywrapfst", "pynini", "_pynini"):
                continue
            if not name.startswith(("lmfst.fst.", "lmfst.grammar.")) or id(node) not in inside:
                found.append(f"{name}:{node.lineno}")
    assert not found


HEAVY = {
    "numpy",
    "Bio", "accelerate", "bitsandbytes", "gguf", "google", "huggingface_hub", "lark", "numba",
    "psutil", "pyarrow", "pynini", "pywrapfst", "rich", "sentencepiece", "tokenizers", "torch",
    "transformers",
}  # fmt: skip
"""Libraries that are imported where they are used."""
STANDARD = {"importlib", "resource"}
"""Of the standard library, for a rare case or a platform."""
LATE = ("lmfst.cli", "lmfst.model", "lmfst.inference.", "lmfst.target.", "lmfst.corpus.ray_actor")
"""What may import modules of the house in a function: what begins to work when it is asked to, and
what must be told first whether they are the same as elsewhere."""


def test_imports_in_functions_are_of_heavy_libraries() -> None:
    found = []
    for name, tree in MODULES.items():
        for outer in ast.walk(tree):
            if not isinstance(outer, Function):
                continue
            for library, node in _imported(outer):
                late = library == "lmfst" and name.startswith(LATE)
                if library not in HEAVY | STANDARD and not late and name != "lmfst":
                    found.append(f"{name}:{node.lineno}: {library}")
    assert not found, "\n".join(sorted(set(found)))


def test_every_package_says_what_it_is() -> None:
    found = [
        name
        for name, tree in MODULES.items()
        if (HOUSE.parent / Path(*name.split("."))).is_dir() and not ast.get_docstring(tree)
    ]
    assert not found


def private_calls(text: str) -> list[int]:
    """Lines where a private kernel is named outside of kernels: it has no entry from Python, and
    calling it there ends the process."""
    tree = ast.parse(text)
    kernels = [node for node in ast.walk(tree) if _is_kernel(node)]
    private = {k.name for k in kernels if isinstance(k, ast.FunctionDef) and k.name[0] == "_"}
    inside = {id(node) for kernel in kernels for node in ast.walk(kernel)}
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id in private and id(node) not in inside
    ]


def test_private_kernels_are_called_by_kernels_alone() -> None:
    found = {path.name: private_calls(path.read_text()) for path in FILES}
    assert not {name: lines for name, lines in found.items() if lines}


def test_a_call_of_a_private_kernel_is_found() -> None:
    text = "@kernel\ndef _f():\n    pass\n@kernel\ndef g():\n    _f()\n"
    assert private_calls(text) == []
    assert private_calls(text + "def h():\n    _f()\n") == [8]
