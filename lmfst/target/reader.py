"""Documents as target strings: read by the function, or written in target form.

Letters in a case that the model doesn't write are read as those that it writes
(`lmfst.target.case`). Symbols that the model can't produce are left as they are, refused, or read
as what they stand for (`lmfst.target.unknown`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from lmfst.fst import Identity, run
from lmfst.fst.pattern import OneOf, Pattern, Place
from lmfst.ground.document import Document
from lmfst.ground.errors import InputError
from lmfst.ground.types import Given, Unknown, Warn
from lmfst.target.case import Case, Folded, changed
from lmfst.target.load import Target
from lmfst.target.prompts import Prompt, Read, read_after, read_prompt
from lmfst.target.strings import as_bytes
from lmfst.target.unknown import Alphabet


class Ready(NamedTuple):
    """A document, with its text as it was read, and its target, so many of whose first symbols are
    the prompt (see `Read`)."""

    document: Document
    target: Pattern
    prompt: int = 0


NO_PROMPT = Prompt()


class Reader:
    """Reads documents for a target. alphabet: what the model can produce of its symbols."""

    def __init__(self, target: Target, alphabet: Alphabet) -> None:
        self._target, self._alphabet = target, alphabet
        self._told_of_encoding = isinstance(target.machine, Identity)

    def read(
        self, document: Document, given: Given, unknown: Unknown, prompt: Prompt = NO_PROMPT
    ) -> Read:
        """A document's target, after the prompt.

        Raises InputError where the function rejects it, for text that names no symbol, and for
        symbols that can't be produced if these are no matter of `unknown`, as those of prompts
        never are. UsageError for a prompt in target form before a document in source form, unless
        both are the same.
        """
        text, before = as_bytes(document.text), prompt.of(document)
        if before:
            form, run_on = prompt.given or given, partial(self._run, unknown=unknown)
            found = read_after(self, self._target, before, form, text, given, run_on)
        elif given == "source":
            found = self.source(text, partial(self._run, unknown=unknown))
        else:
            found = self.written(text)
        if given == "target" and unknown == "any":
            found = found._replace(target=self._alphabet.opened(found.target))
        case = self._case(given).kind if found.folded else ""
        self._require_producible(found.target[: found.prompt], case, "the prompt: ")
        sequence = given == "target" and document.is_sequence
        if unknown in ("error", "skip", "any") or (unknown == "auto" and sequence):
            self._require_producible(found.target[found.prompt :], case)
        return found

    def require_prompt(self, prompt: Prompt, given: Given, unknown: Unknown) -> None:
        """The errors of the one prompt of all documents in form `given`, before any is read."""
        if prompt.column is None and prompt.text:
            form = prompt.given or given
            found = read_prompt(self, self._target, as_bytes(prompt.text), form)
            case = self._case(form).kind if found.folded else ""
            own = found.target
            if form == "target" and unknown == "any":
                own = self._alphabet.opened(own)
            self._require_producible(own, case, "the prompt: ")

    def read_all(
        self,
        documents: Iterable[Document],
        given: Given,
        unknown: Unknown,
        folded: Folded,
        warn: Warn,
        prompt: Prompt = NO_PROMPT,
    ) -> Iterator[Ready]:
        """Documents, each with its text as it was read, and their targets; errors name them.

        Those with symbols that can't be produced are left out, with a warning, if `unknown` is
        "skip". folded: where letters in the other case are counted. The first text that is no UTF-8
        gets a warning, unless bytes are what is asked for.
        """
        for document in documents:
            if not prompt:
                self._tell_of_encoding(document, warn)
            try:
                read = self.read(document, given, unknown, prompt)
            except InputError as error:
                if unknown != "skip":
                    message = f"{document.origin}: {error.message}"
                    raise InputError(message, hint=error.hint) from None
                warn(f"{document.origin}: skipped: {error.message}")
                continue
            if read.folded:
                folded.add(read.folded, document.origin)
            whole = replace(document, text=read.text)
            if prompt:
                # A character may begin in the prompt.
                self._tell_of_encoding(whole, warn)
            yield Ready(whole, read.target, read.prompt)

    def _tell_of_encoding(self, document: Document, warn: Warn) -> None:
        if not self._told_of_encoding and (fault := encoding_fault(document)):
            self._told_of_encoding = True
            warn(fault)

    def producible(self, place: Place) -> bool:
        """Whether the model can produce anything that may stand at a place."""
        if isinstance(place, OneOf):
            return any(symbol in self._alphabet for symbol in place)
        return place in self._alphabet

    def options(self, place: Place) -> str:
        """What to do about a symbol that can't be produced, in brackets; empty if it means no
        other symbols."""
        if place not in self._alphabet.codes:
            return ""
        return " (--unknown any sums over what it may be, --unknown skip leaves it out)"

    def case(self, given: Given) -> str:
        """The case in which letters are read, and why: the end of a message (`Folded.told`); empty
        where none is turned."""
        case = self._case(given)
        if not case.kind:
            return ""
        what = "the model" if given == "source" else f"the model under {self._target.name}"
        return f"{case.kind} case, the only one in which {what} writes letters"

    def _case(self, given: Given) -> Case:
        return self._alphabet.written if given == "source" else self._alphabet.case

    def meant_as_target(self, text: bytes) -> str:
        """What to do about a text in source form that looks like one in target form, in brackets;
        empty where it doesn't: few of its letters are what the model doesn't write."""
        unwritten = sum(not self._alphabet.writes(byte) for byte in text)
        if 2 * unwritten <= len(text) or not self.is_target(text):
            return ""
        return f" (--given target, if the text is {self._target.name} already)"

    def source(self, text: bytes, read: Callable[[bytes], Pattern]) -> Read:
        """A text in source form as the function `read` reads it.

        Letters are left as they are where it makes the same of them in either case, or something
        that can be produced.
        """
        folded = self._alphabet.written.text(text)
        if folded == text:
            return Read(text, read(text), 0)
        try:
            found: Pattern | None = read(text)
        except InputError:
            found = None
        if found is not None and all(map(self.producible, found)):
            return Read(text, found, 0)
        try:
            other = read(folded)
        except InputError as error:
            case = self._alphabet.written.kind
            message = f"{error.message} (its letters read in {case} case)"
            raise InputError(message, hint=error.hint) from None
        if other == found:
            return Read(text, other, 0)
        return Read(folded, other, changed(text, folded))

    def spelled(self, text: bytes, read: Callable[[bytes], Pattern]) -> Read:
        """The same of a text that the model has read itself: its letters are in the case that the
        model writes, also where the function makes the same of either."""
        found = self.source(text, read)
        folded = self._alphabet.written.text(text)
        if found.text == folded:
            return found
        try:
            if read(folded) != found.target:
                return found
        except InputError:
            return found
        return Read(folded, found.target, changed(text, folded))

    def _run(self, text: bytes, unknown: Unknown) -> Pattern:
        try:
            if unknown == "any":
                return self._alphabet.read(text)
            return run(self._target.machine, text)
        except InputError as error:
            if self.is_target(text):
                raise InputError(error.message, hint=_given_target(self._target)) from None
            raise

    def is_target(self, text: bytes) -> bool:
        """Whether a text can be read as a string of the target that the model can produce, by
        another function than bytes and characters."""
        if self._target.fst is None or not text.strip():
            return False
        try:
            symbols, _ = self._alphabet.parsed(text.strip())
        except InputError:
            return False
        return all(s in self._alphabet or s in self._alphabet.codes for s in symbols)

    def written(self, text: bytes) -> Read:
        """A text in target form."""
        return Read(text, *self._alphabet.parsed(text))

    def _require_producible(self, target: Pattern, case: str, what: str = "") -> None:
        """InputError for a symbol that can't be produced. case: that in which letters of the other
        one were read; "" if there were none. what: the target is, for the message."""
        read = f" (letters are read in {case} case)" if case else ""
        for at, place in enumerate(target):
            if self.producible(place):
                continue
            written = place.written if isinstance(place, OneOf) else place
            name = self._target.units.name(written)
            # What --unknown leaves out or reports is documents.
            hint = "mend it" if what else "mend it, or use --unknown skip or report"
            if place in self._alphabet.codes:
                hint = f"--unknown any sums over what '{name}' may be; or {hint}"
            raise InputError(
                f"{what}position {at + 1} is '{name}'{read}, which the model can't produce: "
                f"expected {self._alphabet.names()}",
                hint=hint,
            )


def encoding_fault(document: Document) -> str:
    """What to say of a document that is no UTF-8; nothing of one that is."""
    text = as_bytes(document.text)
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return (
            f"{document.origin}: the byte 0x{text[error.start]:02x} at offset {error.start} is no "
            "UTF-8; such bytes are read as they are, none as a character (if the text is in "
            "another encoding, convert it: iconv -f WINDOWS-1252 -t UTF-8)"
        )
    return ""


def _given_target(target: Target) -> str:
    return (
        f"add --given target, if the text is {target.name} already (it can be read so); otherwise "
        "extend the transducer to accept it, or remove it"
    )
