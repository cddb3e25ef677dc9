"""Targets: what `--to` names, made ready and checked against a vocabulary.

`bytes` and `chars` are built in; `FILE.fst` is an OpenFst file. Before an FST is used with a model it is
checked: functional, no output on an input-epsilon cycle, and total over the strings that the model's
tokens can spell (or a domain to condition on).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmfst.errors import FstError, UsageError
from lmfst.fst import Fst, read_fst
from lmfst.fst.check import epsilon_output_cycle_witness, functional_witness, rejected_witness
from lmfst.sequential import Determinised, Identity, Sequential, Utf8
from lmfst.units import Units
from lmfst.vocab import Vocab

Warn = Callable[[str], None]


@dataclass(frozen=True)
class Target:
    """A function to target strings. fst is None for the built-in machines, which need no checks."""

    name: str
    machine: Sequential
    units: Units
    fst: Fst | None = None


def load_target(to: str | Fst, *, warn: Warn = lambda message: None) -> Target:
    """The target that `to` names: bytes, chars, the path of an OpenFst file, or an `Fst`.

    Raises UsageError for an unknown name, FstError for an FST that is empty, not functional or that
    emits output without end on one input.
    """
    if isinstance(to, Fst):
        return fst_target(to, "FST")
    if to == "bytes":
        return _built_in(to, Identity())
    if to == "chars":
        return _built_in(to, Utf8())
    if to.endswith(".fst"):
        return fst_target(read_fst(to, warn=warn), Path(to).name)
    raise UsageError(
        f"--to {to!r} is no known target",
        hint="use bytes, chars, or the path of an OpenFst .fst file",
    )


def _built_in(name: str, machine: Sequential) -> Target:
    return Target(name, machine, Units(machine.symbols))


def fst_target(fst: Fst, name: str) -> Target:
    """A checked target from an FST."""
    fst = fst.trim()
    cycle = epsilon_output_cycle_witness(fst)
    if cycle is not None:
        raise FstError(
            f"{name}: output without end on one input: {cycle}",
            hint="an input-epsilon cycle must emit nothing",
        )
    two = functional_witness(fst)
    if two is not None:
        text, one, other = two
        shown = [" ".join(map(fst.symbols.name, out)) or "nothing" for out in (one, other)]
        raise FstError(
            f"{name} is not functional: the input {show_bytes(text)} has the outputs {shown[0]!r} and "
            f"{shown[1]!r}",
            hint="make rewriting obligatory, or remove the ambiguity",
        )
    return Target(name, Determinised(fst), Units.of(fst.symbols), fst)


def support_of(target: Target, vocab: Vocab, warn: Warn, *, drop_nul: bool) -> NDArray[np.bool_]:
    """Tokens in the support: bool [vocabulary].

    OpenFst has no label for the byte NUL; an FST that doesn't use lmfst's label for it takes the
    tokens that contain NUL out of the support, with a warning (if `drop_nul`).
    """
    support = np.zeros(vocab.size, dtype=bool)
    for texts in vocab.token_bytes:
        support |= np.array([text is not None for text in texts])
    fst = target.fst
    if drop_nul and fst is not None and not (fst.ilabel == 0).any():
        with_nul = {
            t
            for texts in vocab.token_bytes
            for t, text in enumerate(texts)
            if text and b"\0" in text
        }
        if with_nul:
            support[sorted(with_nul)] = False
            warn(
                f"{target.name} has no arc that reads the byte NUL (label 256): {len(with_nul)} tokens "
                "that contain it are left out of the support"
            )
    support[list(vocab.eos)] = True
    return support


def rejected_string(target: Target, vocab: Vocab, support: NDArray[np.bool_]) -> bytes | None:
    """A shortest string that tokens in the support spell and the target rejects, or None."""
    if target.fst is None:
        return None
    spelled = {
        text
        for texts in vocab.token_bytes
        for token, text in enumerate(texts)
        if text and support[token] and token not in vocab.eos
    }
    return rejected_witness(target.fst, spelled)


def require_total(target: Target, vocab: Vocab, support: NDArray[np.bool_]) -> None:
    """FstError with a witness if the model can spell a string that the target rejects."""
    witness = rejected_string(target, vocab, support)
    if witness is not None:
        raise FstError(
            f"{target.name} is not total: it rejects {show_bytes(witness)}, which the model's tokens "
            "can spell",
            hint="extend the FST to accept every string, or normalise over its domain with "
            "--partial condition",
        )


def show_bytes(data: bytes) -> str:
    """Bytes as a quoted string with \\xNN escapes, for messages."""
    return ascii(data)[1:] if data else "the empty string"
