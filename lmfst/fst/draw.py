"""A transducer as text of the dot language, for Graphviz.

Arcs between the same two states are one edge with a line for each label; bytes that are copied are
put together as a class such as [a-z].
"""

from __future__ import annotations

import json

from lmfst.fst.core import EPS, Fst

LINES = 12
"""Lines on an edge; what is left over is counted."""


def to_dot(fst: Fst, name: str = "FST") -> str:
    """The graph; the start state is bold, final states are double circles."""
    edges: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for src, ilabel, olabel, dst in fst.arcs():
        edges.setdefault((src, dst), []).append((ilabel, olabel))
    lines = [f"digraph {json.dumps(name)} {{", "rankdir = LR;", "node [shape = circle];"]
    for state, final in enumerate(fst.final.tolist()):
        style = ["shape = doublecircle"] if final else []
        style += ["style = bold"] if state == fst.start else []
        lines.append(f"{state} [{', '.join(style)}];")
    for (src, dst), labels in edges.items():
        lines.append(f"{src} -> {dst} [label = {_quoted(_edge(fst, labels))}];")
    return "\n".join([*lines, "}"]) + "\n"


def _edge(fst: Fst, labels: list[tuple[int, int]]) -> list[str]:
    copied = [i for i, o in labels if i == o != EPS] if fst.symbols.kind == "bytes" else []
    lines = _classes(copied)
    for ilabel, olabel in labels:
        if ilabel == olabel and ilabel in copied:
            continue
        read = "ε" if ilabel == EPS else _byte(ilabel)
        written = "ε" if olabel == EPS else fst.symbols.name(olabel)
        lines.append(f"{read}:{written}")
    if len(lines) > LINES:
        lines = [*lines[: LINES - 1], f"… {len(lines) - LINES + 1} more"]
    return lines


def _classes(copied: list[int]) -> list[str]:
    """Copied bytes: one by itself, several as ranges in brackets."""
    if len(copied) <= 1:
        return [_byte(byte) for byte in copied]
    ranges: list[list[int]] = []
    for byte in sorted(copied):
        if ranges and byte == ranges[-1][1] + 1:
            ranges[-1][1] = byte
        else:
            ranges.append([byte, byte])
    parts = [_byte(a) + ("" if a == b else f"-{_byte(b)}") for a, b in ranges]
    return [f"[{''.join(parts)}]"]


def _byte(byte: int) -> str:
    return chr(byte) if 0x21 <= byte < 0x7F else f"\\x{byte:02x}"


def _quoted(lines: list[str]) -> str:
    """A dot string: backslashes doubled, quotes escaped, lines joined by dot's own line break."""
    return '"' + "\\n".join(x.replace("\\", "\\\\").replace('"', '\\"') for x in lines) + '"'
