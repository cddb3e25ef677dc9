"""What has no result: said one by one, and counted."""

from __future__ import annotations

from dataclasses import dataclass, field

from lmfst.cli.terminal import Terminal
from lmfst.ground.errors import InputError, LmfstError


@dataclass
class Rejections:
    """Documents, or prompts, without a result. strict: whether the first one is an error."""

    terminal: Terminal
    strict: bool = False
    count: int = 0
    _hints: set[str] = field(default_factory=set)

    def add(self, origin: str, error: LmfstError) -> None:
        """Say what is wrong with one, how to mend it once; raise it if that is strict. origin: what
        it is called."""
        hint = "" if error.hint in self._hints else error.hint
        self._hints.add(error.hint)
        found = InputError(f"{origin}: {error.message}", hint=hint)
        if self.strict:
            raise found
        self.count += 1
        self.terminal.reject(str(found))

    def end(self, total: int, what: str, lacks: str) -> None:
        """InputError if there were any. total: of all, also those that have a result. what: one of
        them, such as "document". lacks: what it is without."""
        if self.count:
            have = f"{what} has" if total == 1 else f"{what}s have"
            raise InputError(f"{self.count} of {total} {have} no {lacks}")
