"""Laws that authors of language models and targets can run in one line.

    from lmfst.testing import check_lm
    check_lm(MyLM())

Each check raises `LawError`, which names the law, what was expected and what was found. They are
laws of the interfaces (`lmfst.lm.base.LM`, `lmfst.target.Target`), not of good models.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from lmfst.fst import apply_all
from lmfst.fst.sequential import run
from lmfst.ground.arrays import Floats
from lmfst.ground.errors import InputError, LmfstError
from lmfst.inference.policy import Exact
from lmfst.lm.base import LM
from lmfst.model import TransducedLM
from lmfst.target import Target, load_target
from lmfst.target.units import parse_target_text, target_text

__all__ = ["LawError", "check_lm", "check_target"]

DEPTH = 3
"""Tokens of the longest contexts that are tried."""
WIDTH = 3
"""Tokens that are tried after each context."""
SMALLEST = 1e-30
"""Probabilities below this are alike."""
STRINGS = 4
"""Bytes of the longest strings that targets are tried on."""


class LawError(LmfstError):
    """A law does not hold."""


def check_lm(lm: LM, *, tolerance: float = 1e-4) -> None:
    """Check a language model: its rows, keys, sessions, tokens of texts, and its prefix
    probabilities as bytes.

    tolerance: nats by which two ways to one number may differ. LawError for the first law that
    doesn't hold.
    """
    contexts = _contexts(lm)
    rows = _normalised(lm, _rows(lm, contexts))
    _check_alone(lm, contexts, rows, tolerance)
    _check_keys(lm, contexts, rows, tolerance)
    _check_session(lm, contexts, rows, tolerance)
    _check_texts(lm, contexts)
    _check_prefixes(lm, tolerance)


def _contexts(lm: LM) -> list[tuple[int, ...]]:
    """Contexts of ordinary tokens: the empty one, and some of up to `DEPTH` tokens."""
    usual = [i for i, data in enumerate(lm.vocab.token_bytes[lm.vocab.last_state]) if data]
    if not usual:
        raise LawError(
            "the vocabulary has no token that spells a byte",
            hint="token_bytes holds the bytes of each id, None for those outside the support",
        )
    some = [usual[k * (len(usual) - 1) // max(1, WIDTH - 1)] for k in range(WIDTH)]
    chosen = list(dict.fromkeys(some))
    return [c for n in range(DEPTH + 1) for c in itertools.product(chosen, repeat=n)]


def _rows(lm: LM, contexts: Sequence[tuple[int, ...]]) -> Floats:
    rows = np.asarray(lm.next_logp(contexts), dtype=np.float64)
    expected = (len(contexts), lm.vocab.size)
    if rows.shape != expected:
        raise LawError(
            f"next_logp gives an array of shape {rows.shape}, expected {expected}: a row for each "
            "context, a column for each id"
        )
    return rows


def _normalised(lm: LM, rows: Floats) -> Floats:
    """Rows over the support. LawError for rows that can't be normalised."""
    vocab = lm.vocab
    support = np.zeros(vocab.size, dtype=bool)
    for table in vocab.token_bytes:
        support |= np.array([data is not None for data in table])
    support[list(vocab.eos)] = True
    rows = np.where(support, rows, -np.inf)
    if np.isnan(rows).any() or (rows == np.inf).any():
        raise LawError("next_logp gives NaN or infinity, expected log-probabilities or -inf")
    total = np.logaddexp.reduce(rows, axis=1)
    if (total == -np.inf).any():
        raise LawError("a row of next_logp gives probability zero to every id in the support")
    normalised: Floats = rows - total[:, None]
    return normalised


def _same(one: Floats, other: Floats, tolerance: float) -> bool:
    # Below that, a number says nothing but that it is small.
    lowest = np.log(SMALLEST)
    apart = np.abs(np.maximum(one, lowest) - np.maximum(other, lowest))
    return bool((apart <= tolerance).all())


def _check_alone(
    lm: LM, contexts: Sequence[tuple[int, ...]], rows: Floats, tolerance: float
) -> None:
    for context, row in list(zip(contexts, rows, strict=True))[:: max(1, len(contexts) // 8)]:
        alone = _normalised(lm, _rows(lm, [context]))[0]
        if not _same(alone, row, tolerance):
            raise LawError(f"the row after {context} depends on the other contexts of the call")


def _check_keys(
    lm: LM, contexts: Sequence[tuple[int, ...]], rows: Floats, tolerance: float
) -> None:
    first: dict[object, int] = {}
    for i, context in enumerate(contexts):
        before = first.setdefault(lm.key(context), i)
        if not _same(rows[before], rows[i], tolerance):
            raise LawError(
                f"the contexts {contexts[before]} and {context} have one key and different rows",
                hint="contexts with equal keys must have equal futures",
            )
    if not lm.merges and len(first) < len(contexts):
        raise LawError(
            "two contexts have one key, and the model says that it doesn't merge",
            hint="set merges = True where keys forget something",
        )


def _check_session(
    lm: LM, contexts: Sequence[tuple[int, ...]], rows: Floats, tolerance: float
) -> None:
    session = lm.session()
    root, states = session.open(), []
    for context in contexts:
        state = np.array([root], dtype=np.int64)
        for token in context:
            state = session.step(state, np.array([token], dtype=np.int64))
        states.append(int(state[0]))
    found = np.empty_like(rows)
    for part, block in session.rows(np.array(states, dtype=np.int64)):
        found[part] = _normalised(lm, block.double().cpu().numpy())
    session.close(root)
    for context, one, other in zip(contexts, rows, found, strict=True):
        if not _same(one, other, tolerance):
            raise LawError(f"the session's row after {context} is another one than next_logp's")


def _check_texts(lm: LM, contexts: Sequence[tuple[int, ...]]) -> None:
    for context in contexts:
        text = lm.vocab.decode(context)
        for name, tokens in (("canonical", lm.canonical(text)), ("encode", lm.encode(text))):
            if tokens is not None and lm.vocab.decode(tokens) != text:
                raise LawError(f"{name} gives tokens of {text!r} that spell something else")
        if lm.encode(text) is None:
            raise LawError(f"encode finds no tokens for {text!r}, which {context} spells")


def _check_prefixes(lm: LM, tolerance: float) -> None:
    """P_Y(a) = p_Y(a | ε), and these and the end sum to 1."""
    model = TransducedLM(lm, load_target("bytes"), Exact(), warn=lambda message: None)
    symbols, logp = model.next_symbols(b"")
    total = float(np.logaddexp.reduce(logp))
    if abs(total) > tolerance:
        raise LawError(f"the first bytes and the end have probability {np.exp(total):.6f} in all")
    for at in np.argsort(-logp)[:WIDTH].tolist():
        if symbols[at] < 0:
            continue
        found = model.prefix_logp([int(symbols[at])])
        if abs(found - logp[at]) > tolerance:
            raise LawError(
                f"P(byte {symbols[at]:#04x}) is {found:.6f} as a prefix and {logp[at]:.6f} as the "
                "next symbol, nats"
            )


def check_target(target: str | Target, *, alphabet: bytes = b"ab ") -> None:
    """Check a target on all strings of up to `STRINGS` bytes over an alphabet: its sequential form
    gives what the FST's paths give, what is emitted is never taken back, and its outputs can be
    written and read as text.

    target: one, or what `--to` names. LawError for the first law that doesn't hold.
    """
    target = target if isinstance(target, Target) else load_target(target)
    for size in range(STRINGS + 1):
        for letters in itertools.product(alphabet, repeat=size):
            _check_string(target, bytes(letters))


def _check_string(target: Target, text: bytes) -> None:
    machine = target.machine
    try:
        output: tuple[int, ...] | None = run(machine, text)
    except InputError:
        output = None
    if target.fst is not None:
        paths = apply_all(target.fst, text, 2)
        expected = tuple(paths[0]) if paths else None
        if len(paths) > 1 or expected != output:
            raise LawError(f"{target.name} makes {output} of {text!r}, its paths make {paths}")
    if output is None:
        return
    written = target_text(output, machine.symbols)
    if parse_target_text(written, machine.symbols) != output:
        raise LawError(f"{target.name}'s output {output} is written {written!r}, read otherwise")
    state, emitted = machine.start, 0
    for byte in text:
        step = machine.step(state, byte)
        if step is None:
            raise LawError(f"{target.name} accepts {text!r}, and its machine stops at {byte:#04x}")
        state, out = step
        if output[emitted : emitted + len(out)] != tuple(out):
            raise LawError(f"{target.name} emits {out} within {text!r}, whose output is {output}")
        emitted += len(out)
