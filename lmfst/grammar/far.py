"""Rules → an OpenFst archive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lmfst.fst.archive import SYMBOLS_KEY
from lmfst.ground.temporary import scratch_folder

if TYPE_CHECKING:
    from lmfst.grammar.build import CompiledRule


def far_bytes(rules: Sequence[CompiledRule]) -> bytes:
    """An archive (sttable) of the rules, and `*StringFstSymbolTable` if they use symbols."""
    import pynini

    entries = {rule.name: rule.openfst for rule in rules}
    generated = {label: name for rule in rules for label, name in rule.labels.items()}
    if generated:
        table = pynini.SymbolTable("generated")
        table.add_symbol("<epsilon>", 0)
        for label, name in sorted(generated.items()):
            table.add_symbol(name, label)
        holder = pynini.Fst()
        holder.set_input_symbols(table)
        entries[SYMBOLS_KEY] = holder
    with scratch_folder() as folder:
        path = Path(folder) / "rules.far"
        far = pynini.Far(str(path), "w", arc_type="standard", far_type="sttable")
        # Keys out of order are dropped without a word.
        for key in sorted(entries, key=str.encode):
            far[key] = entries[key]
        far.close()
        return path.read_bytes()
