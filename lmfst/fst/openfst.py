"""OpenFst objects (pynini, pywrapfst) → `Fst`.

The input side becomes bytes, whatever it was: bytes (labels 1..255, 256 for NUL), Unicode code
points (expanded to their UTF-8), or named symbols (expanded to the UTF-8 of their names). The
output side keeps its own alphabet: bytes and generated symbols, code points, or the symbols of a
table. Weights are dropped, or kept where asked for.

Which reading applies is decided by the symbol tables first and by the labels second
(`lmfst.fst.sides`); here a guess that the labels speak against is told.
Not done here: files (see `lmfst.fst.io`), composition, or anything else that OpenFst does well.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from lmfst.fst.core import Fst
from lmfst.fst.objects import ARC_TYPES, Raw, unweighted
from lmfst.fst.relabel import relabelled
from lmfst.fst.sides import Side, has_above, sides_of
from lmfst.fst.tables import BOUNDARIES, LAST_CODE_POINT, NUL_LABEL
from lmfst.fst.utf8 import doubts, show_doubts, unusable_labels
from lmfst.ground.announce import warn_default
from lmfst.ground.errors import FstError
from lmfst.ground.types import InputMode, Warn


def from_openfst(
    obj: Any,
    *,
    name: str = "FST",
    names: Mapping[int, str] | None = None,
    mode: InputMode = "auto",
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
    if obj.arc_type() not in ARC_TYPES:
        raise FstError(
            f"{name}: expected arcs of type {', '.join(ARC_TYPES)}, got {obj.arc_type()}",
            hint="convert it with `fstmap --map_type=to_standard`",
        )
    raw = unweighted(obj, name, warn, keep=weights)
    known = BOUNDARIES | {label: text for label, text in (names or {}).items() if label > NUL_LABEL}
    inputs, outputs = sides_of(obj, raw.arcs, known, mode, name)
    fst = relabelled(raw, inputs, outputs, name, warn)
    if mode != "auto" and inputs.from_table and outputs.from_table:
        warn(
            f"{name}: its symbol tables say what its labels are; --input-mode {mode} changes "
            "nothing"
        )
    if inputs.guessed or outputs.guessed:
        _judge_guess(fst, raw, inputs, outputs, name, warn)
    return fst


def acceptor_from_openfst(
    obj: Any,
    *,
    name: str = "FST",
    names: Mapping[int, str] | None = None,
    mode: InputMode = "auto",
    warn: Warn = warn_default,
) -> Fst:
    """The strings that an acceptor accepts, as what its arcs write; they read nothing.

    Unlike what `from_openfst` reads, they may hold generated symbols. Arguments, alphabets and
    errors as there; FstError, too, if an arc reads something else than it writes.
    """
    raw = unweighted(obj, name, warn)
    for _, ilabel, olabel, _ in raw.arcs:
        if ilabel != olabel:
            raise FstError(
                f"{name}: expected an acceptor, found a transducer: an arc reads label {ilabel} "
                f"and writes {olabel}",
                hint="in a grammar, Project[RULE, 'output'] accepts what RULE writes",
            )
    known = BOUNDARIES | {label: text for label, text in (names or {}).items() if label > NUL_LABEL}
    inputs, outputs = sides_of(obj, raw.arcs, known, mode, name)
    silent = [(src, 0, label, dst) for src, _, label, dst in raw.arcs]
    return relabelled(raw._replace(arcs=silent), inputs, outputs, name, warn)


def _judge_guess(fst: Fst, raw: Raw, inputs: Side, outputs: Side, name: str, warn: Warn) -> None:
    """Warn where the labels of a side without a table look like what they weren't read as."""
    bytes_in = inputs.guessed and inputs.kind == "bytes"
    bytes_out = outputs.guessed and outputs.kind == "bytes"
    found = show_doubts(doubts(fst, inputs=bytes_in, outputs=bytes_out))
    if found:
        warn(
            f"{name}: read as bytes, since no label is above 256, but {found}; if its labels are "
            "code points, give --input-mode utf8, and if they are bytes, --input-mode byte"
        )
    elif inputs.guessed and inputs.kind == "unicode" and not has_above(raw.arcs, 1, inputs.names):
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


def _looks_coded(raw: Raw, inputs: Side) -> bool:
    """Whether the input labels, read as bytes, would be bytes of no text."""
    arcs = [(src, label, 0, dst) for src, label, _, dst in raw.arcs]
    only_input = raw._replace(arcs=arcs, weights=[], final_weights={})
    side, nothing = Side("bytes", inputs.names), Side("bytes", {})
    return bool(unusable_labels(relabelled(only_input, side, nothing, "", lambda message: None)))
