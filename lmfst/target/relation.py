"""A target or an FST as a relation: the outputs of a text, or the inputs of an output.

A target is a function and gives one output. An FST by itself, functional or not, gives all outputs
of an input, all inputs of an output, or the best one by its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from lmfst.fst import Fst, apply_all
from lmfst.fst.best import BestPaths, PairWeights
from lmfst.fst.preimages import preimages
from lmfst.fst.sequential import run
from lmfst.fst.shown import show_bytes
from lmfst.ground.errors import InputError, UsageError
from lmfst.io import Output
from lmfst.target.load import BUILT_IN, Target
from lmfst.target.units import parse_target_text, target_text


@dataclass(frozen=True)
class Asked:
    """Which outputs are asked for: the only one, every one up to a limit, or the best one.

    invert: inputs of outputs instead. UsageError for every one and the best one.
    """

    every: bool = False
    best: bool = False
    invert: bool = False
    limit: int = 1000

    def __post_init__(self) -> None:
        if self.every and self.best:
            raise UsageError("--all lists all outputs, --best takes one of them")

    @property
    def weights(self) -> bool:
        """Whether weights matter."""
        return self.every or self.best

    def by_target(self, to: str) -> bool:
        """Whether the checked target of that name answers, rather than its FST."""
        return not self.invert and (not self.weights or to in BUILT_IN)


@dataclass(frozen=True)
class Relation:
    """outputs: of a text, what is asked for. weighted: whether these have weights."""

    outputs: Callable[[bytes], list[Output]]
    weighted: bool = False


def relation_of_target(target: Target) -> Relation:
    """The function itself. Raises InputError for texts that it rejects."""
    symbols = target.units.symbols
    return Relation(lambda text: [Output(target_text(run(target.machine, text), symbols))])


def relation_of_fst(fst: Fst, asked: Asked) -> Relation:
    """What is asked for of an FST (with its weights if `Asked.weights`).

    Its outputs raise InputError where there should be one and is none, or several; BudgetError.
    """
    fst = fst.trim()
    pairs = None if fst.weight is None else PairWeights(fst)
    if asked.best:
        outputs = partial(_best, fst, BestPaths(fst, inverse=asked.invert), asked.invert)
    elif asked.invert:
        outputs = partial(_preimages, fst, pairs, asked)
    else:
        outputs = partial(_images, fst, pairs, asked.limit)
    return Relation(outputs, fst.weight is not None)


def _images(fst: Fst, pairs: PairWeights | None, limit: int, text: bytes) -> list[Output]:
    """All outputs of a text."""
    return [
        Output(target_text(out, fst.symbols), _weight(pairs, text, out))
        for out in apply_all(fst, text, limit)
    ]


def _best(fst: Fst, paths: BestPaths, invert: bool, text: bytes) -> list[Output]:
    """The best output, or input, of a text. InputError if there is none."""
    given = parse_target_text(text, fst.symbols) if invert else tuple(text)
    found = paths.of(given)
    if found is None:
        if invert:
            raise InputError("no input of the transducer gives this output")
        raise InputError(
            "the transducer accepts no such text",
            hint="extend the transducer to accept it, or remove it from the text",
        )
    return [Output(bytes(found.written) if invert else target_text(found.written, fst.symbols))]


def _preimages(fst: Fst, pairs: PairWeights | None, asked: Asked, text: bytes) -> list[Output]:
    """The inputs that give an output; InputError unless every one is asked for if there isn't
    exactly one."""
    target = parse_target_text(text, fst.symbols)
    found = list(islice(preimages(fst, target), asked.limit if asked.every else 2))
    if asked.every or len(found) == 1:
        return [Output(source, _weight(pairs, source, target)) for source in found]
    if not found:
        raise InputError("no input of the transducer gives this output")
    raise InputError(
        f"several inputs give this output, such as {show_bytes(found[0])} and "
        f"{show_bytes(found[1])}",
        hint="list them with --all, shorter ones first; --best takes the best one by weights",
    )


def _weight(pairs: PairWeights | None, text: bytes, output: Sequence[int]) -> float | None:
    """The weight of a pair; None where there are no weights."""
    return None if pairs is None else pairs.of(text, output)
