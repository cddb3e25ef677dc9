"""`lmfst apply`: what a target makes of documents, and which documents it makes something of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from lmfst.cli.mistakes import require_documents
from lmfst.cli.progress import Progress
from lmfst.cli.reading import Reading, documents
from lmfst.cli.terminal import Terminal
from lmfst.errors import BudgetError, InputError, LmfstError, UsageError
from lmfst.fst import Fst, apply_all
from lmfst.fst.best import BestPaths, PairWeights
from lmfst.fst.preimages import preimages
from lmfst.fst.shown import show_bytes
from lmfst.io import Document, Output, OutputWriter
from lmfst.sequential import run
from lmfst.target import BUILT_IN, load_fst, load_target
from lmfst.units import parse_target_text, target_text

Find = Callable[[Document], list[Output]]


@dataclass(frozen=True)
class Choice:
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


@dataclass
class Rejections:
    """Documents without a result: said one by one, and counted."""

    terminal: Terminal
    strict: bool
    count: int = 0
    _hints: set[str] = field(default_factory=set)

    def add(self, document: Document, error: LmfstError) -> None:
        """Say what is wrong with a document, how to mend it once; raise it if that is strict."""
        hint = "" if error.hint in self._hints else error.hint
        self._hints.add(error.hint)
        found = InputError(f"{document.origin}: {error.message}", hint=hint)
        if self.strict:
            raise found
        self.count += 1
        self.terminal.reject(str(found))

    def end(self, total: int) -> None:
        """InputError if there were any."""
        if self.count:
            what = "document has" if total == 1 else "documents have"
            raise InputError(f"{self.count} of {total} {what} no output")


def apply(
    to: str,
    paths: Sequence[str],
    *,
    grammar: dict[str, Any],
    choice: Choice,
    reading: Reading,
    strict: bool,
    terminal: Terminal,
) -> None:
    """Write the outputs of every document, in the form of its file (`lmfst.io.outputs`).

    A document that is rejected is said so, and the next one read; InputError at the end. strict: at
    the first one.
    """
    require_documents(paths)
    outputs, weighted = _relation(to, grammar, terminal, choice)
    writer = OutputWriter(every=choice.every, weighted=weighted, warn=terminal.warn)
    rejections = Rejections(terminal, strict)
    total = 0
    with Progress(terminal, to_stdout=True) as progress:
        for document in progress.reading(documents(paths, reading, terminal, writer.header)):
            total += 1
            try:
                found = outputs(document)
                if choice.every:
                    _warn_of_count(document, len(found), choice.limit, terminal)
                writer.write(document, found)
            except (InputError, BudgetError) as error:
                rejections.add(document, error)
                writer.reject(document)
            progress.done()
    rejections.end(total)


def _warn_of_count(document: Document, size: int, limit: int, terminal: Terminal) -> None:
    if not size:
        terminal.warn(f"{document.origin}: there is no output")
    if size == limit:
        terminal.warn(f"{document.origin}: there may be more than {limit} outputs (--limit)")


def _relation(
    to: str, grammar: dict[str, Any], terminal: Terminal, choice: Choice
) -> tuple[Find, bool]:
    """A function from a document to its outputs, and whether these have weights."""
    many = choice.every or choice.best
    if not choice.invert and (not many or to in BUILT_IN):
        target = load_target(to, warn=terminal.warn, **grammar)
        symbols = target.units.symbols
        return (
            lambda document: [Output(target_text(run(target.machine, document.text), symbols))],
            False,
        )
    fst = load_fst(to, weights=many, warn=terminal.warn, **grammar).trim()
    weighted = fst.weight is not None
    if choice.best:
        paths = BestPaths(fst, inverse=choice.invert)
        return lambda document: [_best(fst, paths, document, choice.invert)], weighted
    pairs = PairWeights(fst) if weighted else None
    if choice.invert:
        return lambda document: _preimages(fst, pairs, document, choice), weighted
    return lambda document: _images(fst, pairs, document, choice.limit), weighted


def _images(fst: Fst, pairs: PairWeights | None, document: Document, limit: int) -> list[Output]:
    """All outputs of a document."""
    return [
        Output(target_text(out, fst.symbols), _weight(pairs, document.text, out))
        for out in apply_all(fst, document.text, limit)
    ]


def _best(fst: Fst, paths: BestPaths, document: Document, invert: bool) -> Output:
    """The best output, or input, of a document. InputError if there is none."""
    given = parse_target_text(document.text, fst.symbols) if invert else tuple(document.text)
    found = paths.of(given)
    if found is None:
        if invert:
            raise InputError("no input of the transducer gives this output")
        raise InputError(
            "the transducer accepts no such text",
            hint="extend the transducer to accept it, or remove it from the text",
        )
    return Output(bytes(found.written) if invert else target_text(found.written, fst.symbols))


def _preimages(
    fst: Fst, pairs: PairWeights | None, document: Document, choice: Choice
) -> list[Output]:
    """The inputs that give a document; InputError unless every one is asked for if there isn't
    exactly one."""
    target = parse_target_text(document.text, fst.symbols)
    found = list(islice(preimages(fst, target), choice.limit if choice.every else 2))
    if choice.every or len(found) == 1:
        return [Output(text, _weight(pairs, text, target)) for text in found]
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
