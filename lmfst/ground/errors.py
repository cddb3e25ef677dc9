"""The error hierarchy: one exit code per class, one message form.

A message says what was expected, what came instead, and how to mend it. The command line prints
`str(error)` on stderr and exits with `error.exit_code`; it never shows a traceback for these.
"""

from __future__ import annotations


class LmfstError(Exception):
    """Base of all errors lmfst raises on purpose. Exit code 1 (run-time error)."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        """`message` says what was expected and what came, `hint` how to mend it."""
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class UsageError(LmfstError):
    """An option or argument is outside its allowed range. Exit code 2."""

    exit_code = 2


class InputError(LmfstError):
    """A document or input file can't be read or used as asked."""


class ZeroProbabilityError(InputError):
    """A document, or a prompt, has probability zero under the model."""


class ModelError(LmfstError):
    """A language model or its tokenizer can't be loaded or used."""


class FstError(LmfstError):
    """An FST can't be read, or lacks a property that the computation needs."""


class GrammarError(LmfstError):
    """A grammar file doesn't parse or compile."""


class BudgetError(LmfstError):
    """A declared limit (nodes, states, memory, time) was reached; nothing was dropped silently."""


Failure = InputError | BudgetError
"""Why one of several documents or prompts has no result; the others may have theirs."""
