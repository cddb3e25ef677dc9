"""OpenFst objects (pynini, pywrapfst) → `Fst`.

The input side becomes bytes, whatever it was: bytes (labels 1..255, 256 for NUL), Unicode code
points (expanded to their UTF-8), or named symbols (expanded to the UTF-8 of their names). The
output side keeps its own alphabet: bytes and generated symbols, code points, or the symbols of a
table. Weights are dropped, or kept where asked for.

Which reading applies is decided by the symbol tables first and by the labels second; see `_sides`.
Not done here: files (see `lmfst.fst.io`), composition, or anything else that OpenFst does well.
"""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from lmfst.errors import FstError
from lmfst.fst.core import EPS, Arc, Fst
from lmfst.fst.symbols import Symbols
from lmfst.fst.tables import (
    BOUNDARIES,
    FIRST_BEYOND,
    FIRST_GENERATED,
    LAST_CODE_POINT,
    NUL_LABEL,
    NUL_NAME,
    Table,
    read_table,
)
from lmfst.fst.utf8 import doubts, show_doubts, unusable_labels

Warn = Callable[[str], None]
Mode = Literal["auto", "byte", "utf8"]

_CODE_POINTS = "if the labels are code points, give --input-mode utf8"

_ARC_TYPES = ("standard", "log", "log64")


def warn_default(message: str) -> None:
    """The callback used where the caller gives none."""
    warnings.warn(message, stacklevel=3)


class _Raw(NamedTuple):
    """An OpenFst FST as plain lists, weights already judged. weights: of the arcs, and of the final
    states; empty where they aren't kept."""

    start: int
    arcs: list[Arc]
    finals: list[int]
    n_states: int
    weights: list[float] = []  # noqa: RUF012 (never changed)
    final_weights: dict[int, float] = {}  # noqa: RUF012


@dataclass(frozen=True)
class _Side:
    """How to read the labels of one side.

    kind: bytes, unicode (code points), or symbols (of a table).
    names: names of the labels that the kind doesn't define by itself.
    guessed: whether labels alone decided the kind; from_table: whether a symbol table did.
    """

    kind: Literal["bytes", "unicode", "symbols"]
    names: Mapping[int, str]
    guessed: bool = False
    from_table: bool = False


def from_openfst(
    obj: Any,
    *,
    name: str = "FST",
    names: Mapping[int, str] | None = None,
    mode: Mode = "auto",
    weights: bool = False,
    warn: Warn = warn_default,
) -> Fst:
    """The transducer of a pynini or pywrapfst FST, over bytes on the input side.

    name:  how messages call this FST (a path, a rule).
    names: names of generated symbols that the FST's own tables don't hold, by label above 256.
    mode:  for sides without a symbol table: `byte`, `utf8` (code points), or `auto`, which is utf8
           if a label above 256 occurs on such a side that no table names, and byte otherwise. An
           FST with no code points beyond 256 looks like a byte FST: say `utf8` there.
    weights: whether to keep the weights, if there are any. Of arcs with equal labels and states the
           lightest counts; those of log arcs are kept as they are.
    warn:  called with one message for dropped weights, one for dropped arcs that read generated
           symbols, as far as these are never written, and one where `auto` looks wrong: bytes that
           no UTF-8 text has, or code points by the outputs alone where the inputs may be bytes.

    Generated symbols get new labels in the order of their names, from 0xF0000 next to bytes and
    from 0x110000 next to code points, so that the digest doesn't depend on the process that
    numbered them. FstError if a label can't be read.
    """
    if mode not in ("auto", "byte", "utf8"):
        raise FstError(f"{name}: expected mode auto, byte or utf8, got {mode!r}")
    if obj.arc_type() not in _ARC_TYPES:
        raise FstError(
            f"{name}: expected arcs of type {', '.join(_ARC_TYPES)}, got {obj.arc_type()}",
            hint="convert it with `fstmap --map_type=to_standard`",
        )
    raw = _unweighted(obj, name, warn, keep=weights)
    known = BOUNDARIES | {label: text for label, text in (names or {}).items() if label > NUL_LABEL}
    inputs, outputs = _sides(obj, raw.arcs, known, mode, name)
    fst = _read(raw, inputs, outputs, name, warn)
    if mode != "auto" and inputs.from_table and outputs.from_table:
        warn(
            f"{name}: its symbol tables say what its labels are; --input-mode {mode} changes "
            "nothing"
        )
    if inputs.guessed or outputs.guessed:
        _judge_guess(fst, raw, inputs, outputs, name, warn)
    return fst


def _read(raw: _Raw, inputs: _Side, outputs: _Side, name: str, warn: Warn) -> Fst:
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
    arcs: list[Arc], before: list[Arc], weights: list[float], side: _Side, name: str
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


def _judge_guess(fst: Fst, raw: _Raw, inputs: _Side, outputs: _Side, name: str, warn: Warn) -> None:
    """Warn where the labels of a side without a table look like what they weren't read as."""
    bytes_in = inputs.guessed and inputs.kind == "bytes"
    bytes_out = outputs.guessed and outputs.kind == "bytes"
    found = show_doubts(doubts(fst, inputs=bytes_in, outputs=bytes_out))
    if found:
        warn(
            f"{name}: read as bytes, since no label is above 256, but {found}; if its labels are "
            "code points, give --input-mode utf8, and if they are bytes, --input-mode byte"
        )
    elif inputs.guessed and inputs.kind == "unicode" and not _above(raw.arcs, 1, inputs.names):
        # Nothing but the outputs says that the inputs are code points; a copied one says it, too.
        high = {arc[1] for arc in raw.arcs if 128 <= arc[1] < NUL_LABEL}
        copied = any(arc[1] == arc[2] and arc[1] in high for arc in raw.arcs)
        if high and not copied and not _looks_coded(raw, inputs):
            warn(
                f"{name}: read as code points, since outputs are above 256, but its inputs from "
                "128 on may as well be bytes of UTF-8; --input-mode utf8 confirms code points, and "
                "for bytes embed symbol tables (`fstsymbols`)"
            )
    if outputs.guessed and outputs.kind == "unicode":
        # "Any code point", copied, has such labels, too.
        written = {arc[2] for arc in raw.arcs if arc[2] != arc[1]} - {*outputs.names, 0}
        odd = sorted(label for label in written if _no_character(label))
        if odd:
            warn(
                f"{name}: outputs are read as code points, since some are above 256, but text has "
                f"no character {', '.join(map(str, odd[:6]))}{', …' if len(odd) > 6 else ''}; if "
                "they are numbers of a symbol table, embed it (`fstsymbols --osymbols`), and if "
                "not, give --input-mode utf8"
            )


def _no_character(label: int) -> bool:
    """Whether a label is a code point that no text has: a control, or not assigned."""
    if label > LAST_CODE_POINT:
        return False
    category = unicodedata.category(chr(label))
    return category in ("Cn", "Cs") or (category == "Cc" and chr(label) not in "\t\n\r")


def _looks_coded(raw: _Raw, inputs: _Side) -> bool:
    """Whether the input labels, read as bytes, would be bytes of no text."""
    arcs = [(src, label, 0, dst) for src, label, _, dst in raw.arcs]
    only_input = raw._replace(arcs=arcs, weights=[], final_weights={})
    side, nothing = _Side("bytes", inputs.names), _Side("bytes", {})
    return bool(unusable_labels(_read(only_input, side, nothing, "", lambda message: None)))


def _unweighted(obj: Any, name: str, warn: Warn, *, keep: bool = False) -> _Raw:
    """States and arcs without weights; arcs and final states of weight Zero are left out.

    keep: whether weights, if there are any, are kept beside them.
    """
    import pywrapfst

    try:
        raw, weighted_arcs, weighted_finals = _walk(obj)
    except pywrapfst.FstError as error:
        raise _damaged(name, f"OpenFst: {error}") from error
    if any(not 0 <= arc[3] < raw.n_states or arc[1] < 0 or arc[2] < 0 for arc in raw.arcs):
        raise _damaged(name, "an arc has a negative label or goes to a state that doesn't exist")
    if keep and (weighted_arcs or weighted_finals):
        return raw._replace(**_weights(obj))
    if weighted_arcs or weighted_finals:
        warn(
            f"{name}: weights are ignored ({weighted_arcs} arcs and {weighted_finals} final states "
            "have one); the language model alone gives the probabilities (`lmfst apply --best` "
            "takes the path of least weight, `--all` shows all weights)"
        )
    return raw


def _damaged(name: str, why: str) -> FstError:
    return FstError(
        f"{name}: expected a well-formed FST, got a damaged one: {why}",
        hint="write it again from its source",
    )


def _walk(obj: Any) -> tuple[_Raw, int, int]:
    """The FST, and how many of its arcs and final states have a weight."""
    import pywrapfst

    one = pywrapfst.Weight.one(obj.weight_type())
    zero = pywrapfst.Weight.zero(obj.weight_type())
    arcs: list[Arc] = []
    finals: list[int] = []
    weighted_arcs = weighted_finals = n_states = 0
    for state in obj.states():
        n_states += 1
        weight = obj.final(state)
        if weight != zero:
            finals.append(state)
            weighted_finals += weight != one
        for arc in obj.arcs(state):
            weight = arc.weight
            if weight != zero:
                arcs.append((state, arc.ilabel, arc.olabel, arc.nextstate))
                weighted_arcs += weight != one
    return _Raw(obj.start(), arcs, finals, n_states), weighted_arcs, weighted_finals


def _weights(obj: Any) -> dict[str, Any]:
    """The weights of the arcs and final states that `_walk` finds, in its order."""
    import pywrapfst

    zero = pywrapfst.Weight.zero(obj.weight_type())
    arcs: list[float] = []
    finals: dict[int, float] = {}
    for state in obj.states():
        weight = obj.final(state)
        if weight != zero:
            finals[state] = float(weight)
        arcs += [float(arc.weight) for arc in obj.arcs(state) if arc.weight != zero]
    return {"weights": arcs, "final_weights": finals}


def _sides(
    obj: Any, arcs: list[Arc], names: dict[int, str], mode: Mode, name: str
) -> tuple[_Side, _Side]:
    """Decide how both sides are read."""
    input_table = read_table(obj.input_symbols(), f"{name}: input symbol table")
    output_table = read_table(obj.output_symbols(), f"{name}: output symbol table")
    for table in (input_table, output_table):
        if table is not None:
            names |= table.generated
    inputs, outputs = _table_side(input_table, names), _table_side(output_table, names)
    beyond = outputs is None and _above(arcs, 2, names)
    if inputs is None:
        inputs = _guessed(mode, beyond or _above(arcs, 1, names), names)
    if outputs is None:
        outputs = _guessed(mode, beyond or inputs.kind == "unicode", names)
    return inputs, outputs


def _guessed(mode: Mode, high: bool, names: Mapping[int, str]) -> _Side:
    """A side without a table of its own. high: whether labels speak for code points."""
    if mode == "auto":
        return _Side("unicode" if high else "bytes", names, guessed=True)
    return _Side("unicode" if mode == "utf8" else "bytes", names)


def _table_side(table: Table | None, names: Mapping[int, str]) -> _Side | None:
    """What a symbol table says about its side; None if it only names generated symbols."""
    if table is None or table.alphabet == "generated":
        return None
    own = table.names if table.alphabet == "symbols" else names
    return _Side(table.alphabet, own, from_table=True)


def _above(arcs: list[Arc], side: Literal[1, 2], names: Mapping[int, str]) -> bool:
    """Whether the input (1) or output (2) labels can't be bytes, and so are code points."""
    # Without names a generated symbol looks like a private code point of planes 15 and 16, which no
    # ordinary text holds: such labels alone don't make a code-point FST.
    return any(NUL_LABEL < arc[side] < FIRST_GENERATED and arc[side] not in names for arc in arcs)


def _expanded(raw: _Raw, side: _Side, name: str, warn: Warn) -> tuple[list[Arc], int]:
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


def _input_bytes(label: int, side: _Side, name: str) -> bytes | None:
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


def _output_side(arcs: list[Arc], side: _Side, name: str) -> tuple[list[Arc], Symbols]:
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


def _text_outputs(used: list[int], side: _Side, name: str) -> tuple[dict[int, int], dict[int, str]]:
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
