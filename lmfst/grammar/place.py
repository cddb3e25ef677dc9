"""Where in a grammar an evaluation is: for errors, warnings, and reports of progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lmfst.fst.capture import Capture
from lmfst.grammar import syntax as s
from lmfst.grammar.modules import Module
from lmfst.grammar.paths import is_shipped
from lmfst.grammar.source import Pos, RuleError, without_surrogates
from lmfst.grammar.values import Thing
from lmfst.ground.errors import LmfstError

_MAX_CALLS = 100
_BEGIN = Pos(1, 1)


@dataclass(frozen=True)
class Frame:
    """Where an expression stands.

    rule:   the rule of `module` that it belongs to, or that called the function.
    before: how many of the module's rules are visible.
    locals: a function's arguments and variables; None outside functions.
    calls:  one note for each function call on the way here, innermost first.
    """

    module: Module
    rule: str
    before: int
    locals: dict[str, Thing] | None = None
    calls: tuple[str, ...] = ()

    def error(self, pos: Pos, error: RuleError) -> LmfstError:
        """What went wrong, with the place in the grammar."""
        return self.module.source.error(
            pos,
            error.message,
            rule=self.rule,
            hint=error.hint,
            notes=self.calls[:8],
            kind=error.kind,
        )

    def calling(
        self, function: s.Function, module: Module, arguments: list[Thing], call: s.Call
    ) -> Frame:
        """The frame of a function's body, called from here. RuleError if it can't be called so."""
        names = [name for name, _ in function.parameters]
        if len(names) != len(arguments):
            raise RuleError(
                f"{call.function} takes {len(names)} argument(s), got {len(arguments)}",
                hint=f"func {function.name}[{', '.join(names)}]",
            )
        if len(self.calls) >= _MAX_CALLS:
            raise RuleError(
                f"{_MAX_CALLS} function calls inside one another",
                hint="a function that calls itself never ends: the language has no conditions",
            )
        note = f"in {call.function}[…], called at {self.module.source.where(call.pos)}"
        known = dict(zip(names, arguments, strict=True))
        return Frame(module, self.rule, 0, known, (note, *self.calls))


@dataclass(frozen=True)
class _Here:
    """frame, pos: what is being evaluated. shipped: whether for a grammar that comes with lmfst."""

    frame: Frame | None = None
    pos: Pos = _BEGIN
    shipped: bool = False


class Place:
    """What is being evaluated now, and who is told of it.

    capture: what OpenFst wrote to stderr, for the messages of errors. warn, report: see
    `lmfst.grammar.evaluate.Evaluator`.
    """

    def __init__(
        self,
        capture: Capture,
        warn: Callable[[str], None],
        report: Callable[[str, str, bool], None],
    ) -> None:
        self._capture, self._tell, self._report = capture, warn, report
        self._told: set[str] = set()
        self._here = _Here()

    def begin(self, module: Module, rule: str) -> _Here:
        """A rule is evaluated from here on. Returns what `back_to` takes when it is done."""
        outer = self._here
        self._here = replace(outer, shipped=is_shipped(module.path))
        self._say(module, module.rules[rule].pos, rule)
        return outer

    def back_to(self, outer: _Here) -> None:
        """Go on where `begin` was called."""
        self._here = outer
        if outer.frame is not None:
            self._say(outer.frame.module, outer.pos, outer.frame.rule)

    def enter(self, frame: Frame, pos: Pos) -> None:
        """Operands are evaluated; from here on warnings and diagnostics belong to this place."""
        self._here = replace(self._here, frame=frame, pos=pos)
        self._capture.mark()

    def diagnostic(self) -> str:
        """What OpenFst has said since the latest place was entered."""
        return self._capture.since_last()

    def importer(self) -> Path:
        """The grammar that is being evaluated. RuleError if there is none."""
        if self._here.frame is None:
            raise RuleError("no grammar is being evaluated")
        return self._here.frame.module.path

    def warn(self, message: str) -> None:
        """Pass a warning on, with the place that is being evaluated."""
        frame = self._here.frame
        if frame is None:
            self.warn_once(message)
        else:
            rule = f"rule {frame.rule}: " if frame.rule else ""
            self.warn_once(f"{frame.module.source.where(self._here.pos)}: {rule}{message}")

    def warn_once(self, message: str) -> None:
        """Pass a warning on as it is, unless it has been given before."""
        message = without_surrogates(message)
        if message not in self._told:
            self._told.add(message)
            self._tell(message)

    def _say(self, module: Module, pos: Pos, rule: str) -> None:
        where = f"{module.source.where(pos)}: rule {rule}"
        # A shipped function that a user's statement calls is that statement's affair.
        self._report(where, module.source.excerpt(pos), self._here.shipped)
