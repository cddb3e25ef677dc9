"""CDRewrite[τ, λ, ρ, σ*]: τ / λ __ ρ everywhere in σ*, and the checks that pynini leaves out.

pynini gives a nearly empty FST without a word when σ isn't closed or lacks a symbol of τ, λ or ρ.
Compilation: Mohri and Sproat (1996), in pynini.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmfst.grammar.labels import BOS, EOS, Labels
from lmfst.grammar.operators import Warn
from lmfst.grammar.source import RuleError
from lmfst.grammar.values import Thing, Value, as_fst, as_text

_DIRECTIONS = ("ltr", "rtl", "sim")
_MODES = ("obl", "opt")
_NAMES = ("the rewrite τ", "the left context λ", "the right context ρ", "the alphabet σ*")


def cdrewrite(arguments: Sequence[Thing], labels: Labels, warn: Warn) -> Value:
    """The rewrite rule as an FST; see the module. RuleError for arguments of the wrong sort."""
    import pynini

    if not 4 <= len(arguments) <= 6:
        raise RuleError(
            f"CDRewrite takes 4 to 6 arguments, got {len(arguments)}",
            hint="CDRewrite[τ, λ, ρ, σ*, 'ltr'|'rtl'|'sim', 'obl'|'opt']",
        )
    tau, left, right, sigma = (
        as_fst(argument, f"CDRewrite: {name}")
        for argument, name in zip(arguments[:4], _NAMES, strict=True)
    )
    direction = _choice(arguments, 4, _DIRECTIONS)
    mode = _choice(arguments, 5, _MODES)
    for value, name in ((left, _NAMES[1]), (right, _NAMES[2]), (sigma, _NAMES[3])):
        _check_acceptor(value, name)
    _check_sigma(sigma, (tau, left, right), labels, warn)
    result = pynini.cdrewrite(tau.fst, left.fst, right.fst, sigma.fst, direction, mode)
    return Value(result, sigma.inputs | tau.inputs, sigma.outputs | tau.outputs)


def _choice(arguments: Sequence[Thing], index: int, allowed: tuple[str, ...]) -> str:
    if len(arguments) <= index:
        return allowed[0]
    text = as_text(arguments[index], f"CDRewrite: argument {index + 1}")
    if text not in allowed:
        quoted = ", ".join(f"'{name}'" for name in allowed)
        raise RuleError(f"CDRewrite: argument {index + 1} is '{text}'", hint=f"expected {quoted}")
    return text


def _check_acceptor(value: Value, name: str) -> None:
    if not value.is_acceptor():
        raise RuleError(
            f"CDRewrite: {name} must be an acceptor, but it maps strings to others",
            hint="take Project[…, 'input'] or Project[…, 'output'] of it",
        )
    if not value.is_unweighted():
        raise RuleError(f"CDRewrite: {name} must be unweighted", hint="take RmWeight[…] of it")


def _check_sigma(
    sigma: Value, others: tuple[Value, Value, Value], labels: Labels, warn: Warn
) -> None:
    """Warn of an alphabet that isn't closed, and of symbols that it lacks."""
    if not _is_closed(sigma):
        warn(
            f"CDRewrite: the alphabet {sigma.what or 'σ*'} isn't closed under concatenation; "
            "did you leave out the star?"
        )
    known = sigma.labels() | {BOS, EOS}
    for value, name in zip(others, _NAMES, strict=False):
        missing = sorted(value.labels() - known)
        if missing:
            shown = " ".join(labels.show([label], label > 256) for label in missing[:6])
            warn(
                f"CDRewrite: {name} has symbols that the alphabet lacks, so the rule never applies "
                f"there: {shown}{' …' if len(missing) > 6 else ''}"
            )


def _is_closed(sigma: Value) -> bool:
    """Whether the language L of σ* is L*: it has the empty string and LL ⊆ L."""
    if "closed" not in sigma.memo:
        sigma.memo["closed"] = _closed(sigma.fst)
    return bool(sigma.memo["closed"])


def _closed(fst: Any) -> bool:
    import pynini

    small = fst.copy().optimize()
    if small.start() == -1 or small.final(small.start()) == pynini.Weight.zero("tropical"):
        return False
    if small.num_states() == 1:
        return bool(small.num_arcs(0))
    if small.num_states() > 2000:  # LL ⊆ L would cost more than the warning is worth
        return True
    deterministic = pynini.determinize(pynini.rmepsilon(small)).arcsort("ilabel")
    twice = pynini.concat(small, small)
    return bool(pynini.difference(twice, deterministic).start() == -1)
