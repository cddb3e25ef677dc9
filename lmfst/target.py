"""Targets: what `--to` names, made ready and checked against a vocabulary.

`bytes` and `chars` are built in; `FILE.fst` is an OpenFst file, `FILE.far` or `FILE.far:KEY` an
entry of an archive, `FILE.grm` or `FILE.grm:RULE` a grammar, and `words`, `amino:TABLE11` and the
like are grammars that come with lmfst. Before an FST is used with a model it is checked:
functional, no output on an input-epsilon cycle, and total over the strings that the model's tokens
can spell (or a domain to condition on). Verdicts on large FSTs are kept, see `lmfst.verdicts`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmfst.errors import FstError, UsageError
from lmfst.fst import Fst, identity_bytes, read_far, read_fst
from lmfst.fst.check import (
    Decoder,
    epsilon_output_cycle_witness,
    functional_witness,
    rejected_of_decoder,
    rejected_witness,
)
from lmfst.resources import resource_dir
from lmfst.sequential import Determinised, Identity, Sequential, Utf8
from lmfst.units import Units
from lmfst.verdicts import WORTHWHILE_ARCS, digest_of, remembered
from lmfst.vocab import Vocab

Warn = Callable[[str], None]

BUILT_IN: dict[str, Callable[[], Sequential]] = {"bytes": Identity, "chars": Utf8}
GRAMMAR, OPENFST, ARCHIVE = ".grm", ".fst", ".far"
CHECKS = {
    "functional": "checking that no input of the transducer has two outputs",
    "rejected": "checking that the transducer accepts every string that the model can spell",
}
"""What is being done, by the name of the check."""


@dataclass(frozen=True)
class Target:
    """A function to target strings. fst is None for the built-in machines, which need no checks."""

    name: str
    machine: Sequential
    units: Units
    fst: Fst | None = None


def load_target(
    to: str | Fst,
    *,
    include: Sequence[str | Path] = (),
    max_states: int | None = None,
    timeout: float | None = None,
    warn: Warn = lambda message: None,
) -> Target:
    """The target that `to` names: bytes, chars, FILE.fst, FILE.far[:KEY], FILE.grm[:RULE], or a
    shipped grammar.

    include, max_states, timeout: for grammars, see `lmfst.grammar.compile_file`; None: as there.

    Raises UsageError for an unknown name, GrammarError for a grammar that doesn't compile,
    BudgetError beyond its limits, FstError for an FST that is empty, not functional or that emits
    output without end on one input.
    """
    if isinstance(to, Fst):
        return fst_target(to, "FST")
    if to in BUILT_IN:
        machine = BUILT_IN[to]()
        return Target(to, machine, Units(machine.symbols))
    fst = load_fst(to, include=include, max_states=max_states, timeout=timeout, warn=warn)
    return fst_target(fst, short_name(to))


def load_fst(
    to: str,
    *,
    include: Sequence[str | Path] = (),
    max_states: int | None = None,
    timeout: float | None = None,
    weights: bool = False,
    warn: Warn = lambda message: None,
) -> Fst:
    """The FST that `to` names, unchecked. Arguments and errors as in `load_target`.

    weights: whether it keeps weights, if there are any.

    `bytes` gives the identity; `chars` has no FST, which is a UsageError.
    """
    if to == "bytes":
        return identity_bytes()
    if to == "chars":
        raise UsageError(
            "the target chars is built in and has no FST",
            hint="name an FST, a grammar, or bytes",
        )
    # Keys may end in .fst, too: farcreate makes them of file names.
    archive, key = _suffixed(to, ARCHIVE)
    if archive is not None:
        return read_far(archive, key, weights=weights, warn=warn)
    if to.endswith(OPENFST):
        return read_fst(to, weights=weights, warn=warn)
    from lmfst.grammar import compile_file

    path, rule = grammar_of(to)
    limits: dict[str, Any] = {"max_states": max_states, "timeout": timeout}
    given = {name: value for name, value in limits.items() if value is not None}
    module = compile_file(path, rule=rule, include=include, warn=warn, **given)
    return module.rule(rule).to_fst(warn, weights=weights)


def grammar_of(to: str) -> tuple[Path, str | None]:
    """The grammar file and the rule (None: the main one) that `to` names.

    `FILE.grm`, `FILE.grm:RULE`, or a grammar in the shipped folder without path and suffix. There
    `NAME:11` is short for `NAME:TABLE11`. UsageError, with what there is, for another name.
    """
    file, rule = _suffixed(to, GRAMMAR)
    if file is not None:
        return file, rule
    name, _, short = to.partition(":")
    known = shipped_grammars()
    if name not in known:
        raise _unknown(to, name, [*BUILT_IN, *known])
    return known[name], (f"TABLE{short}" if short.isdecimal() else short) or None


def _suffixed(to: str, suffix: str) -> tuple[Path | None, str | None]:
    """The file and what stands after a colon, for `FILE<suffix>` and `FILE<suffix>:WHAT`."""
    if to.endswith(suffix):
        return Path(to), None
    file, found, what = to.rpartition(f"{suffix}:")
    return (Path(file + suffix), what) if found and what else (None, None)


def shipped_grammars() -> dict[str, Path]:
    """The grammars that come with lmfst: name → file, in order of names."""
    folder = resource_dir("grammars")
    return {path.stem: path for path in sorted(folder.glob(f"*{GRAMMAR}"))}


def _unknown(to: str, name: str, known: list[str]) -> UsageError:
    near = difflib.get_close_matches(name, known, n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    return UsageError(
        f"{to!r} is no known target",
        hint=f"{guess}use {', '.join(known)}, or a path: FILE.fst, FILE.far[:KEY], FILE.grm[:RULE]",
    )


def short_name(to: str) -> str:
    """What messages and records call a target: a path without its folders."""
    return Path(to).name


def fst_target(fst: Fst, name: str) -> Target:
    """A checked target from an FST."""
    fst = fst.trim()
    cycle = epsilon_output_cycle_witness(fst)
    if cycle is not None:
        raise FstError(
            f"{name}: output without end on one input: {cycle}",
            hint="an input-epsilon cycle must emit nothing",
        )
    two = _kept(fst, "functional", [], lambda: _functional_verdict(fst))
    if two is not None:
        text, *outputs = two
        shown = [" ".join(map(fst.symbols.name, out)) or "nothing" for out in outputs]
        raise FstError(
            f"{name} is not functional: the input {show_bytes(bytes.fromhex(text))} has the "
            f"outputs {shown[0]!r} and {shown[1]!r}",
            hint="make rewriting obligatory, or remove the ambiguity; without a model, "
            "`lmfst apply` takes it with --all or --best",
        )
    return Target(name, Determinised(fst), Units.of(fst.symbols), fst)


def _functional_verdict(fst: Fst) -> list[Any] | None:
    """`functional_witness` as a JSON value: [input in hex, one output, another output] or None."""
    found = functional_witness(fst)
    return None if found is None else [found[0].hex(), list(found[1]), list(found[2])]


def _kept(fst: Fst, check: str, about: list[str], find: Callable[[], Any]) -> Any:
    """A verdict on an FST, from the cache folder where the check takes long."""
    if fst.n_arcs < WORTHWHILE_ARCS:
        return find()
    return remembered(check, [fst.digest, *about], find, doing=CHECKS[check])


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
                f"{target.name} has no arc that reads the byte NUL (label 256): {len(with_nul)} "
                "tokens that contain it are left out of the support"
            )
    support[list(vocab.eos)] = True
    return support


def rejected_string(target: Target, vocab: Vocab, support: NDArray[np.bool_]) -> bytes | None:
    """A shortest string that tokens in the support spell and the target rejects, or None."""
    if target.fst is None:
        return None
    decoder = [
        {
            (text, after[token])
            for token, text in enumerate(texts)
            if text is not None and support[token] and token not in vocab.eos
        }
        for texts, after in zip(vocab.token_bytes, vocab.next_state, strict=True)
    ]
    witness = rejected_by(target.fst, {text for moves in decoder for text, _ in moves if text})
    if witness is None or len(decoder) == 1:
        return witness
    # That was a string of what tokens spell in any state; words with spaces between are fewer.
    return _rejected_of(target.fst, decoder)


def rejected_by(fst: Fst, spelled: set[bytes]) -> bytes | None:
    """`lmfst.fst.check.rejected_witness`, with its verdict on a large FST kept."""
    return _rejected(fst, spelled, lambda: rejected_witness(fst, spelled))


def _rejected_of(fst: Fst, decoder: Decoder) -> bytes | None:
    """`lmfst.fst.check.rejected_of_decoder`, with its verdict on a large FST kept."""
    moves = {
        f"{state} {after} ".encode() + text
        for state, found in enumerate(decoder)
        for text, after in found
    }
    return _rejected(fst, moves, lambda: rejected_of_decoder(fst, decoder))


def _rejected(fst: Fst, about: set[bytes], find: Callable[[], bytes | None]) -> bytes | None:
    def as_json() -> str | None:
        witness = find()
        return None if witness is None else witness.hex()

    digests = [digest_of(about)] if fst.n_arcs >= WORTHWHILE_ARCS else []
    verdict = _kept(fst, "rejected", digests, as_json)
    return None if verdict is None else bytes.fromhex(verdict)


def require_total(target: Target, vocab: Vocab, support: NDArray[np.bool_]) -> None:
    """FstError with a witness if the model can spell a string that the target rejects."""
    witness = rejected_string(target, vocab, support)
    if witness is not None:
        raise FstError(
            f"{target.name} is not total: it rejects {show_bytes(witness)}, which the model's "
            "tokens can spell",
            hint="extend the FST to accept every string, or normalise over its domain with "
            "--partial condition",
        )


def show_bytes(data: bytes) -> str:
    """Bytes as a quoted string with \\xNN escapes, for messages."""
    return ascii(data)[1:] if data else "the empty string"
