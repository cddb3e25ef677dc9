"""Targets: what `--to` names, made ready and checked against a vocabulary.

`bytes` and `chars` are built in; `FILE.fst` is an OpenFst file, `FILE.far` or `FILE.far:KEY` an
entry of an archive, `FILE.grm` or `FILE.grm:RULE` a grammar, and `words`, `amino:TABLE11` and the
like are grammars that come with lmfst. Before an FST is used with a model it is checked:
functional, no output on an input-epsilon cycle, and total over the strings that the model's tokens
can spell (or a domain to condition on). Verdicts on large FSTs are kept, see
`lmfst.ground.verdicts`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmfst.fst import (
    EPS,
    Decoder,
    Determinised,
    Fst,
    Identity,
    Sequential,
    Utf8,
    any_order,
    epsilon_output_cycle_witness,
    functional_witness,
    identity_bytes,
    read_far,
    read_fst,
    rejected_tokens,
    show_bytes,
    show_output,
)
from lmfst.ground import defaults
from lmfst.ground.errors import FstError, UsageError
from lmfst.ground.resources import resource_dir
from lmfst.ground.types import InputMode, Warn
from lmfst.ground.verdicts import digest_of, remembered
from lmfst.target.units import Units
from lmfst.vocab import Vocab

BUILT_IN: dict[str, Callable[[], Sequential]] = {"bytes": Identity, "chars": Utf8}
GRAMMAR, OPENFST, ARCHIVE = ".grm", ".fst", ".far"
CHECKS = {
    "functional": "checking that no input of the transducer has two outputs",
    "rejected": "checking that the transducer accepts every string that the model can spell",
}
"""What is being done, by the name of the check."""
WORTHWHILE_ARCS = 5_000
"""Checks on smaller FSTs are quicker than keeping track of files."""
MODELS = (defaults.MODEL, "dna")
MODEL_SUFFIXES = (".arpa", ".arpa.gz", ".gguf")
"""What names models, for messages (`lmfst.lm.load`)."""
BASES = frozenset(b"ACGTURYSWKMBDHVNXacgturyswkmbdhvnx*-. \n")
"""What FSTs that read nucleic acids read."""


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
    input_mode: InputMode = "auto",
    warn: Warn = lambda message: None,
) -> Target:
    """The target that `to` names: bytes, chars, FILE.fst, FILE.far[:KEY], FILE.grm[:RULE], or a
    shipped grammar.

    include, max_states, timeout: for grammars, see `lmfst.grammar.compile_file`; None: as there.
    input_mode: for FST files, what labels are where no symbol table says it: "byte", "utf8" (code
    points) or "auto", see `lmfst.fst.from_openfst`.

    Raises UsageError for an unknown name, or an `input_mode` for what isn't an FST file,
    GrammarError for a grammar that doesn't compile,
    BudgetError beyond its limits, FstError for an FST that is empty, not functional or that emits
    output without end on one input.
    """
    if isinstance(to, Fst) or to in BUILT_IN:
        require_no_mode("FST" if isinstance(to, Fst) else to, input_mode)
    if isinstance(to, Fst):
        return fst_target(to, "FST")
    if to in BUILT_IN:
        machine = BUILT_IN[to]()
        return Target(to, machine, Units(machine.symbols))
    fst = load_fst(
        to,
        include=include,
        max_states=max_states,
        timeout=timeout,
        input_mode=input_mode,
        warn=warn,
    )
    return fst_target(fst, short_name(to))


def load_fst(
    to: str,
    *,
    include: Sequence[str | Path] = (),
    max_states: int | None = None,
    timeout: float | None = None,
    input_mode: InputMode = "auto",
    weights: bool = False,
    warn: Warn = lambda message: None,
) -> Fst:
    """The FST that `to` names, unchecked. Arguments and errors as in `load_target`.

    weights: whether it keeps weights, if there are any.

    `bytes` gives the identity; `chars` has no FST, which is a UsageError.
    """
    if to == "bytes":
        require_no_mode(to, input_mode)
        return identity_bytes()
    if to == "chars":
        raise UsageError(
            "the target chars is built in and has no FST",
            hint="name an FST, a grammar, or bytes",
        )
    _require_existing(to)
    # Keys may end in .fst, too: farcreate makes them of file names.
    archive, key = _suffixed(to, ARCHIVE)
    if archive is not None:
        return read_far(archive, key, mode=input_mode, weights=weights, warn=warn)
    if to.endswith(OPENFST):
        return read_fst(to, mode=input_mode, weights=weights, warn=warn)
    from lmfst.grammar import compile_file

    path, rule = grammar_of(to)
    require_no_mode(to, input_mode)
    limits: dict[str, Any] = {"max_states": max_states, "timeout": timeout}
    given = {name: value for name, value in limits.items() if value is not None}
    module = compile_file(path, rule=rule, include=include, warn=warn, **given)
    return module.rule(rule).to_fst(warn, weights=weights)


def require_no_mode(to: str, input_mode: InputMode) -> None:
    """UsageError for an input mode where the target says by itself what it reads."""
    if input_mode != "auto":
        raise UsageError(
            f"--input-mode {input_mode} is for FST files (.fst, .far); {to} says by itself what it "
            "reads",
            hint='leave it out; in a grammar, "…".utf8 are code points and other strings bytes',
        )


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


def _require_existing(to: str) -> None:
    """FstError for a file that isn't there, and would be a shipped grammar without its suffix."""
    for suffix in (GRAMMAR, OPENFST, ARCHIVE):
        path, _ = _suffixed(to, suffix)
        if path is not None and path.stem in shipped_grammars() and not path.exists():
            raise FstError(
                f"there is no file {path}",
                hint=f"the grammar that comes with lmfst is named {path.stem}, without {suffix}",
            )


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
    near = difflib.get_close_matches(name.lower(), known, n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    if to in MODELS or to.endswith(MODEL_SUFFIXES) or Path(to).is_dir():
        guess = f"models are named with --model: --model {to}; "
    elif Path(to).is_file():
        guess = "the suffix says what a file is; a text FST needs `lmfst compile F.txt -o F.fst`. "
    return UsageError(
        f"{to!r} is no known target",
        hint=f"{guess}use {', '.join(known)}, or a path: FILE.fst, FILE.far[:KEY], FILE.grm[:RULE]",
    )


def refuse_as_model(name: str) -> None:
    """UsageError for the name of a target where that of a model is asked for, unless there is a
    folder of that name."""
    grammar = (
        _suffixed(name, GRAMMAR)[0] is not None or name.partition(":")[0] in shipped_grammars()
    )
    machine = name.endswith(OPENFST) or _suffixed(name, ARCHIVE)[0] is not None
    if (grammar or machine or name in BUILT_IN) and not Path(name).is_dir():
        raise UsageError(
            f"{name!r} names a target, not a model",
            hint=f"targets are named with --to: --to {name}; --model takes {', '.join(MODELS)}, a "
            "model folder or hub name, FILE.gguf or FILE.arpa",
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
        shown = [show_output(out, fst.symbols) for out in outputs]
        raise FstError(
            f"{name} is not functional: the input {show_bytes(bytes.fromhex(text))} has the "
            f"outputs {shown[0]} and {shown[1]}",
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


def reads_nul(fst: Fst) -> bool:
    """Whether some arc reads the byte NUL, which OpenFst files have as label 256."""
    return bool((fst.ilabel == 0).any())


def support_of(target: Target, vocab: Vocab, *, drop_nul: bool) -> NDArray[np.bool_]:
    """Tokens in the support: bool [vocabulary].

    OpenFst has no label for the byte NUL, so that "any byte" is 1..255 in most FSTs and grammars;
    one that doesn't use lmfst's label for it takes the tokens that contain NUL out of the support
    (if `drop_nul`). That isn't worth a warning: text has no NUL, and a text that has one is
    rejected by name.
    """
    support = np.zeros(vocab.size, dtype=bool)
    for texts in vocab.token_bytes:
        support |= np.array([text is not None for text in texts])
    if drop_nul and target.fst is not None and not reads_nul(target.fst):
        for texts in vocab.token_bytes:
            support[[t for t, text in enumerate(texts) if text and b"\0" in text]] = False
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
    """`lmfst.fst.rejected_tokens` of tokens in any order, its verdict on a large FST kept."""
    return _rejected(fst, spelled, lambda: rejected_tokens(fst, any_order(spelled)))


def _rejected_of(fst: Fst, decoder: Decoder) -> bytes | None:
    """`lmfst.fst.rejected_tokens`, with its verdict on a large FST kept."""
    moves = {
        f"{state} {after} ".encode() + text
        for state, found in enumerate(decoder)
        for text, after in found
    }
    return _rejected(fst, moves, lambda: rejected_tokens(fst, decoder))


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
        hint = "extend the FST to accept every string, or normalise over its domain with --partial "
        hint += "condition"
        if reads_bases(target):
            hint = (
                f"{target.name} reads nucleic acids: add --model dna, or name another model that "
            )
            hint += "writes their letters only"
        raise FstError(
            f"{target.name} is not total: it rejects {show_bytes(witness)}, which the model's "
            "tokens can spell",
            hint=hint,
        )


def reads_bases(target: Target) -> bool:
    """Whether a target reads letters of nucleic acids and nothing else."""
    fst = target.fst
    read = set() if fst is None else {*fst.ilabel.tolist()} - {EPS}
    return {*b"ACG"} <= {*bytes(read & {*range(256)}).upper()} and read <= BASES
