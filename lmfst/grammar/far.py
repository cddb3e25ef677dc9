"""FSTs → an OpenFst archive."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmfst.fst.archive import SYMBOLS_KEY
from lmfst.ground.temporary import scratch_folder


def far_bytes(fsts: Mapping[str, Any], generated: Mapping[int, str]) -> bytes:
    """An archive (sttable) of pynini FSTs by key.

    generated: names of the generated symbols, by label; if there are any, they are in the entry
    `*StringFstSymbolTable`.
    """
    import pynini

    entries = dict(fsts)
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
