"""CDRewrite[τ, λ, ρ, σ*]: τ / λ __ ρ everywhere in σ*, and the checks that pynini leaves out.

pynini gives a nearly empty FST without a word when σ isn't closed or lacks a symbol of τ, λ or ρ.
Members of several labels are fine as long as none of them begins another (for 'rtl') or ends
another (for 'ltr' and 'sim'): otherwise strings with the longer one are lost, whatever the rule.
Compilation: Mohri and Sproat (1996), in pynini.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from lmfst.fst.tables import BOS, EOS
from lmfst.grammar.labels import Labels, pynini_text
from lmfst.grammar.source import RuleError
from lmfst.grammar.values import UTF8, Thing, Value, as_fst, as_text
from lmfst.ground.types import Warn

_MOST_STATES = 2000
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
    _check_members(sigma, direction, labels, warn)
    result = pynini.cdrewrite(tau.fst, left.fst, right.fst, sigma.fst, direction, mode)
    return Value(
        result, sigma.inputs | tau.inputs, sigma.outputs | tau.outputs, alphabet=sigma.labels()
    )


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


def _check_members(sigma: Value, direction: str, labels: Labels, warn: Warn) -> None:
    """Warn of members that begin or end others, where the direction makes that matter."""
    begins = direction == "rtl"
    found = _overlap(sigma, begins)
    if found is None:
        return
    short, long = (labels.show(member, UTF8 in sigma.both) for member in found)
    other = "'ltr'" if begins else "'rtl'"
    safe = _overlap(sigma, not begins) is None
    warn(
        f"CDRewrite: in the alphabet {sigma.what or 'σ*'} the member {short} "
        f"{'begins' if begins else 'ends'} the member {long}; with '{direction}' the rule loses "
        f"strings that have {long}; "
        + (f"{other} isn't disturbed by them; otherwise " if safe else "")
        + f"map {long} to a symbol of its own before, such as [x1], and back after"
    )


def _overlap(sigma: Value, begins: bool) -> tuple[list[int], list[int]] | None:
    """A member of the alphabet that begins (or else ends) another one, and that one."""
    key = "begins" if begins else "ends"
    if key not in sigma.memo:
        sigma.memo[key] = _overlapping(sigma, begins) if _is_closed(sigma) else None
    found: tuple[list[int], list[int]] | None = sigma.memo[key]
    return found


def _overlapping(sigma: Value, begins: bool) -> tuple[list[int], list[int]] | None:
    import pynini

    small = sigma.fst.copy().optimize()
    if small.num_states() == 1 or small.num_states() > _MOST_STATES:
        return None

    def both(one: Any, other: Any) -> Any:
        return pynini.intersect(one.arcsort("olabel"), other.arcsort("ilabel"))

    def longer(part: Any) -> Any:
        return (part.copy().concat(rest) if begins else rest.copy().concat(part)).rmepsilon()

    # Members are the strings of L that aren't made of two: (L - ε) - (L - ε)(L - ε).
    some = pynini.difference(small, pynini.accep("")).rmepsilon()
    made = pynini.determinize(some.copy().concat(some).rmepsilon()).arcsort("ilabel")
    members = pynini.difference(some, made).optimize()
    rest = _some(sigma.labels())
    found = _shortest(both(members, longer(members)))
    if found is None:
        return None
    cuts = [found[:at] if begins else found[-at:] for at in range(1, len(found))]
    parts = pynini.union(*(pynini.accep(pynini_text(cut)) for cut in cuts))
    part = _shortest(both(members, parts.rmepsilon()))
    return None if part is None else (part, found)


def _some(labels: frozenset[int]) -> Any:
    """The acceptor of all strings of at least one label."""
    import pynini

    fst = pynini.Fst()
    fst.add_states(2)
    fst.set_start(0)
    fst.set_final(1)
    one = pynini.Weight.one(fst.weight_type())
    for label in sorted(labels):
        for state in (0, 1):
            fst.add_arc(state, pynini.Arc(label, label, one, 1))
    return fst


def _shortest(fst: Any) -> list[int] | None:
    """The labels of a shortest string of an acceptor without epsilons; None if it has none."""
    import pynini

    zero = pynini.Weight.zero(fst.weight_type())
    queue: deque[tuple[int, list[int]]] = deque([(fst.start(), [])] if fst.start() != -1 else [])
    seen = {fst.start()}
    while queue:
        state, read = queue.popleft()
        if fst.final(state) != zero:
            return read
        for arc in fst.arcs(state):
            if arc.nextstate not in seen:
                seen.add(arc.nextstate)
                queue.append((arc.nextstate, [*read, arc.ilabel]))
    return None


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
    if small.num_states() > _MOST_STATES:  # LL ⊆ L would cost more than the warning is worth
        return True
    deterministic = pynini.determinize(pynini.rmepsilon(small)).arcsort("ilabel")
    twice = pynini.concat(small, small)
    return bool(pynini.difference(twice, deterministic).start() == -1)
