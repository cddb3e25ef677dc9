"""An FST of plain lists → `Fst`: input labels become bytes, output labels lmfst's symbols.

An input label of several bytes (a code point, a symbol's name) becomes a chain of arcs, of which
the first one writes. Generated symbols get new labels in the order of their names.
"""

from __future__ import annotations

from lmfst.fst.core import EPS, Arc, Fst
from lmfst.fst.objects import Raw
from lmfst.fst.sides import Side
from lmfst.fst.symbols import Symbols
from lmfst.fst.tables import (
    FIRST_BEYOND,
    FIRST_GENERATED,
    LAST_CODE_POINT,
    NUL_LABEL,
    NUL_NAME,
)
from lmfst.ground.errors import FstError
from lmfst.ground.types import Warn

_CODE_POINTS = "if the labels are code points, give --input-mode utf8"


def relabelled(raw: Raw, inputs: Side, outputs: Side, name: str, warn: Warn) -> Fst:
    """The transducer, its sides read as said."""
    expanded, n_states = _expanded(raw, inputs, name, warn)
    arcs, symbols = _output_side(expanded, outputs, name)
    if raw.start < 0:
        return Fst.from_arcs([], 0, [], symbols)
    made = Fst.from_arcs(arcs, raw.start, raw.finals, symbols, n_states)
    if not raw.weights and not raw.final_weights:
        return made
    return made.weighted(_lightest(arcs, raw.arcs, raw.weights, inputs, name), raw.final_weights)


def _lightest(
    arcs: list[Arc], before: list[Arc], weights: list[float], side: Side, name: str
) -> dict[Arc, float]:
    """The weights of expanded arcs; the first arc of a chain has that of the arc it stands for."""
    found: dict[Arc, float] = {}
    at = 0
    for (_, ilabel, _, _), weight in zip(before, weights, strict=True):
        chain = _input_bytes(ilabel, side, name) if ilabel else b""
        if chain is None:
            continue
        found[arcs[at]] = min(weight, found.get(arcs[at], weight))
        at += max(len(chain), 1)
    return found


def _expanded(raw: Raw, side: Side, name: str, warn: Warn) -> tuple[list[Arc], int]:
    """Arcs with input bytes: a label of several bytes becomes a chain, its first arc writes."""
    chains: dict[int, bytes | None] = {0: b""}
    # A symbol that is written too is a marker inside a cascade, whose alphabet is σ* of all stages:
    # that no text contains it is as meant. One that is only read is a mistake worth a word.
    written = {arc[2] for arc in raw.arcs}
    dead: dict[str, int] = {}
    arcs: list[Arc] = []
    size = raw.n_states
    for src, ilabel, olabel, dst in raw.arcs:
        if ilabel not in chains:
            chains[ilabel] = _input_bytes(ilabel, side, name)
        chain = chains[ilabel]
        if chain is None:
            if ilabel not in written:
                symbol = f"[{side.names.get(ilabel, hex(ilabel))}]"
                dead[symbol] = dead.get(symbol, 0) + 1
            continue
        labels = list(chain) or [EPS]
        states = [src, *range(size, size + len(labels) - 1), dst]
        size += len(labels) - 1
        arcs += zip(states, labels, [olabel] + [0] * (len(labels) - 1), states[1:], strict=False)
    if dead:
        shown = ", ".join(sorted(dead)[:8]) + (", …" if len(dead) > 8 else "")
        count = sum(dead.values())
        warn(f"{name}: dropped {count} arcs that read symbols no text contains: {shown}")
    return arcs, size


def _input_bytes(label: int, side: Side, name: str) -> bytes | None:
    """The bytes of a non-zero input label; None for a generated symbol, which no text contains."""
    if side.kind == "symbols":
        if label not in side.names:
            raise FstError(
                f"{name}: input label {label} isn't in the input symbol table",
                hint="add it to the table, or remove the table if the labels are bytes",
            )
        return side.names[label].encode("utf-8", "surrogateescape")
    if label in side.names:
        return None
    if side.kind == "bytes":
        if label <= NUL_LABEL:
            return bytes([label % NUL_LABEL])
        if label >= FIRST_GENERATED:
            return None
    elif label <= LAST_CODE_POINT and not 0xD800 <= label < 0xE000:
        return chr(label).encode()
    expected = "byte 1..255 (256 for NUL)" if side.kind == "bytes" else "Unicode code point"
    code_points = "" if side.kind == "unicode" else f"{_CODE_POINTS}; else "
    raise FstError(
        f"{name}: input label {label} is no {expected} and no symbol table names it",
        hint=f"{code_points}embed an input symbol table in the FST (`fstsymbols --isymbols`)",
    )


def _output_side(arcs: list[Arc], side: Side, name: str) -> tuple[list[Arc], Symbols]:
    """Arcs with lmfst's output symbols, and the names of these."""
    used = sorted({arc[2] for arc in arcs} - {0})
    if side.kind == "symbols":
        for label in used:
            if label not in side.names:
                raise _unknown_output(label, side.kind, name)
        mapping = {label: label for label in used}
        symbols = Symbols("symbols", {label: text for label, text in side.names.items() if label})
    else:
        mapping, generated = _text_outputs(used, side, name)
        symbols = Symbols(side.kind, generated)
    mapping[0] = EPS
    return [(src, ilabel, mapping[olabel], dst) for src, ilabel, olabel, dst in arcs], symbols


def _text_outputs(used: list[int], side: Side, name: str) -> tuple[dict[int, int], dict[int, str]]:
    """Symbols of byte or code-point labels, and the names of the generated ones."""
    named = {label: side.names[label] for label in used if label in side.names}
    mapping: dict[int, int] = {}
    if side.kind == "unicode":
        mapping = {label: 0 for label, text in named.items() if text == NUL_NAME}
    first = FIRST_GENERATED if side.kind == "bytes" else FIRST_BEYOND
    texts = sorted({text for label, text in named.items() if label not in mapping})
    fresh = {text: first + rank for rank, text in enumerate(texts)}
    for label in used:
        if label in named:
            mapping.setdefault(label, fresh.get(named[label], 0))
        elif side.kind == "bytes" and label <= NUL_LABEL:
            mapping[label] = label % NUL_LABEL
        elif side.kind == "unicode" and label <= LAST_CODE_POINT:
            mapping[label] = label
        else:
            raise _unknown_output(label, side.kind, name)
    return mapping, {symbol: text for text, symbol in fresh.items()}


def _unknown_output(label: int, kind: str, name: str) -> FstError:
    own = {
        "bytes": "neither a byte (1..256) nor",
        "unicode": "neither a code point nor",
        "symbols": "not",
    }
    code_points = kind == "bytes" and label < FIRST_GENERATED
    return FstError(
        f"{name}: unknown output label {label}: {own[kind]} in a symbol table",
        hint=(f"{_CODE_POINTS}; else " if code_points else "")
        + "embed an output symbol table (`fstsymbols --osymbols`), or give the grammar itself",
    )
