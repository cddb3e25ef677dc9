"""Compiled grammars: the exported rules of a file as FSTs, and as OpenFst files and archives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lmfst.fst import Fst, acceptor_from_openfst, from_openfst
from lmfst.grammar.far import far_bytes
from lmfst.ground.announce import warn_default
from lmfst.ground.atomic import atomic_write, write_hint
from lmfst.ground.errors import GrammarError, InputError
from lmfst.ground.types import InputMode, Warn


@dataclass(frozen=True)
class CompiledRule:
    """One exported rule of a grammar.

    openfst_bytes: the FST in OpenFst's binary format, with symbol tables unless it is plain bytes.
    labels:        names of the generated symbols it uses, by label.
    """

    name: str
    openfst_bytes: bytes
    labels: Mapping[int, str]

    @cached_property
    def openfst(self) -> Any:
        """The pynini FST; shared, so copy it before changing it."""
        import pynini

        return pynini.Fst.read_from_string(self.openfst_bytes)

    @cached_property
    def fst(self) -> Fst:
        """The transducer over bytes. FstError if its labels can't be read."""
        return self.to_fst()

    def to_fst(self, warn: Warn = warn_default, *, weights: bool = False) -> Fst:
        """As `fst`, with a callback for warnings (dropped weights, unreachable symbols). weights:
        whether to keep them."""
        return from_openfst(
            self.openfst,
            name=self.name,
            names=self.labels,
            mode=self._mode,
            weights=weights,
            warn=warn,
        )

    def to_acceptor(self, warn: Warn = warn_default) -> Fst:
        """The strings that an acceptor accepts, as `lmfst.fst.acceptor_from_openfst` has them."""
        return acceptor_from_openfst(
            self.openfst, name=self.name, names=self.labels, mode=self._mode, warn=warn
        )

    @property
    def _mode(self) -> InputMode:
        # Where a rule has no symbol tables it is bytes (`lmfst.grammar.export`): no need to guess.
        return "byte" if self.openfst.input_symbols() is None else "auto"


class CompiledModule:
    """The exported rules of a grammar file, in file order."""

    def __init__(
        self, path: str, rules: Sequence[CompiledRule], warnings: Sequence[str] = ()
    ) -> None:
        self.path = path
        self.warnings = list(warnings)
        self._rules = {rule.name: rule for rule in rules}

    @property
    def exports(self) -> list[str]:
        return list(self._rules)

    def rule(self, name: str | None = None) -> CompiledRule:
        """A rule by name; without one the main rule.

        The main rule is the only one, or the one called MAIN, or like the file in upper case.
        GrammarError if there is no such rule.
        """
        if name is None:
            name = self.main_rule()
        if name not in self._rules:
            shown = ", ".join(self.exports) or "nothing"
            raise GrammarError(f"{self.path} exports no rule {name}", hint=f"it exports {shown}")
        return self._rules[name]

    def main_rule(self) -> str:
        """The name of the rule that is meant when none is named. GrammarError if it isn't clear."""
        upper = Path(self.path).stem.upper()
        if len(self._rules) == 1:
            return next(iter(self._rules))
        for name in ("MAIN", upper):
            if name in self._rules:
                return name
        if not self._rules:
            raise GrammarError(f"{self.path} exports no rule", hint="write `export NAME = …;`")
        raise GrammarError(
            f"{self.path} exports several rules and none is called MAIN or {upper}",
            hint=f"name one of {', '.join(self.exports)}: {self.path}:{self.exports[0]}",
        )

    def write_fst(self, rule: str | None, path: str | Path) -> None:
        """Write one rule as an OpenFst file, in one step. InputError if it can't be written."""
        _write(Path(path), self.rule(rule).openfst_bytes)

    def write_far(self, path: str | Path) -> None:
        """Write all rules as an OpenFst archive (sttable), in one step.

        Generated symbols are named in the entry `*StringFstSymbolTable`, as Thrax does.
        InputError if it can't be written.
        """
        entries = {name: rule.openfst for name, rule in self._rules.items()}
        names = {
            label: text for rule in self._rules.values() for label, text in rule.labels.items()
        }
        _write(Path(path), far_bytes(entries, names))


def to_fst(module: CompiledModule, rule: str | None = None, warn: Warn = warn_default) -> Fst:
    """A compiled rule as a transducer over bytes. FstError if its labels can't be read."""
    return module.rule(rule).to_fst(warn)


def _write(path: Path, data: bytes) -> None:
    try:
        atomic_write(path, data)
    except OSError as error:
        raise InputError(
            f"{path} can't be written: {error.strerror or error}",
            hint=write_hint(error),
        ) from error
