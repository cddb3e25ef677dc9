"""`lmfst apply`: what a target makes of documents, and which documents it makes something of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from lmfst.cli.progress import Progress
from lmfst.cli.reading import documents, require_files
from lmfst.cli.terminal import Terminal
from lmfst.errors import InputError
from lmfst.fst import Fst, apply_all
from lmfst.fst.preimages import preimages
from lmfst.fst.shown import show_bytes
from lmfst.io import Document, Stdout
from lmfst.sequential import run
from lmfst.target import BUILT_IN, load_fst, load_target
from lmfst.units import parse_target_text, target_text


def apply(
    to: str,
    paths: Sequence[str],
    *,
    grammar: dict[str, Any],
    every: bool,
    invert: bool,
    limit: int,
    doc: str,
    terminal: Terminal,
) -> None:
    """Write the output of every document as a line, or all outputs as lines `id TAB output`."""
    require_files(paths)
    out = Stdout()
    outputs = _relation(to, grammar, terminal, invert=invert, every=every, limit=limit)
    with Progress(terminal, to_stdout=True) as progress:
        for document in progress.reading(documents(paths, doc, terminal)):
            try:
                found = outputs(document)
            except InputError as error:
                raise InputError(f"{document.origin}: {error.message}", hint=error.hint) from None
            if every and not found:
                terminal.warn(f"{document.origin}: there is no output")
            if every and len(found) == limit:
                there = f"more than {limit} outputs"
                terminal.warn(f"{document.origin}: there may be {there} (--limit)")
            for text in found:
                out.write(f"{document.id}\t".encode() + text + b"\n" if every else text + b"\n")
            out.flush()
            progress.done()


def _relation(
    to: str, grammar: dict[str, Any], terminal: Terminal, *, invert: bool, every: bool, limit: int
) -> Callable[[Document], list[bytes]]:
    """A function from a document to its outputs as bytes."""
    if not invert and (not every or to in BUILT_IN):
        target = load_target(to, warn=terminal.warn, **grammar)
        symbols = target.units.symbols
        return lambda document: [target_text(run(target.machine, document.text), symbols)]
    fst = load_fst(to, warn=terminal.warn, **grammar).trim()
    if not invert:
        return lambda document: [
            target_text(out, fst.symbols) for out in apply_all(fst, document.text, limit)
        ]
    return lambda document: _preimages(fst, document, every=every, limit=limit)


def _preimages(fst: Fst, document: Document, *, every: bool, limit: int) -> list[bytes]:
    """The inputs that give a document; InputError unless `every` if there isn't exactly one."""
    target = parse_target_text(document.text, fst.symbols)
    found = list(islice(preimages(fst, target), limit if every else 2))
    if every or len(found) == 1:
        return found
    if not found:
        raise InputError("no input of the transducer gives this output")
    raise InputError(
        f"several inputs give this output, such as {show_bytes(found[0])} and "
        f"{show_bytes(found[1])}",
        hint="list them with --all, shorter ones first",
    )
