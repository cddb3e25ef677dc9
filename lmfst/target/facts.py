"""Facts about an FST, for people: its size, its alphabets and its properties.

Properties that an FST lacks come with a witness: a string that is rejected, or has two outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lmfst.fst import (
    EPS,
    Fst,
    epsilon_output_cycle_witness,
    functional_witness,
    rejected_bytes,
)
from lmfst.fst.sequential import Determinised
from lmfst.fst.shown import escaped, show_bytes, show_output
from lmfst.ground.errors import BudgetError, FstError
from lmfst.target.load import reads_nul

WALKED_STATES = 300
"""The sequential form is walked over all bytes up to this many states."""
MOST_NAMES = 8
"""Names of generated symbols that are listed."""


def facts_of(fst: Fst, name: str) -> Iterator[tuple[str, str]]:
    """Pairs of a key and its value, cheap ones first, each as it is found out."""
    yield "name", name
    yield "digest", fst.digest
    yield "states", str(fst.n_states)
    yield "arcs", str(fst.n_arcs)
    yield "final states", str(int(fst.final.sum()))
    yield "input bytes", str(len({*fst.ilabel.tolist()} - {EPS}))
    yield "output symbols", str(len({*fst.olabel.tolist()} - {EPS}))
    yield "output alphabet", fst.symbols.kind
    yield "generated symbols" if fst.symbols.kind != "symbols" else "table entries", _names(fst)
    trimmed = fst.trim()
    yield "useful states", str(trimmed.n_states if trimmed.final.any() else 0)
    yield "output cycle", _judged(lambda: epsilon_output_cycle_witness(fst) or "no")
    functional = _judged(lambda: _functional(fst))
    yield "functional", functional
    yield "total over all bytes", _judged(lambda: _total(fst))
    walked = _judged(lambda: _walked(fst)) if functional == "yes" else "not functional"
    yield "sequential states", walked


def _judged(find: Callable[[], str]) -> str:
    """A verdict, or why there is none."""
    try:
        return find()
    except (BudgetError, FstError) as error:
        return f"undecided: {error.message}"


def _names(fst: Fst) -> str:
    names = [escaped(name) for name in fst.symbols.names.values()]
    more = ["…"] if len(names) > MOST_NAMES else []
    return " ".join([str(len(names)), *names[:MOST_NAMES], *more])


def _functional(fst: Fst) -> str:
    found = functional_witness(fst)
    if found is None:
        return "yes"
    text, *outputs = found
    one, other = (show_output(out, fst.symbols) for out in outputs)
    return f"no: {show_bytes(text)} has the outputs {one} and {other}"


def _total(fst: Fst) -> str:
    found = rejected_bytes(fst, bytes(range(256)))
    if found is None:
        return "yes"
    if not reads_nul(fst) and rejected_bytes(fst, bytes(range(1, 256))) is None:
        return "yes, but for the byte NUL, which no arc reads (label 256)"
    return f"no: rejects {show_bytes(found)}"


def _walked(fst: Fst) -> str:
    """Sequential states reached over all byte strings, as far as `WALKED_STATES`."""
    machine = Determinised(fst)
    state = 0
    while state < machine.n_states:
        for byte in range(256):
            machine.step(state, byte)
            if machine.n_states > WALKED_STATES:
                return f"more than {WALKED_STATES}"
        state += 1
    return str(machine.n_states)
