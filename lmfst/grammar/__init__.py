"""The .grm language: Thrax grammars, parsed here and compiled through pynini.

`compile_file` gives the exported rules of a file as FSTs; `parse` only the syntax tree. This
package is the only one that imports pynini. Not here: what an FST is and does (`lmfst.fst`), which
grammars come with lmfst (`lmfst.target`).

Where Thrax's releases differ, or a grammar comes without the files it was built with, the lenient
reading is taken, with a warning wherever it could surprise:

- `[a b]` is two symbols; `\\x` for any other x is x.
- `StringFile`: empty columns are left out, in the whole file; a line of too many columns
  is skipped; brackets that don't match are taken as they stand; an unknown mode is `byte`.
- `LoadFstFromFar['x.far', …]`: if the archive isn't there but `x.grm` is, that is compiled.
- Imports are looked for beside the importing file, in the roots, then in the folders above it and
  above the main grammar; `byte.grm` comes with lmfst, and stands in wherever a project expects its
  own. Of an imported file, only the rules that are used are evaluated.
- `Concat` and `Union` take two or more arguments; `CDRewrite` may have a direction alone;
  `StringFst['text', mode]` can be called; the `…Delayed` functions are the plain ones.
"""

from lmfst.grammar.build import compile_file
from lmfst.grammar.compiled import CompiledModule, CompiledRule, to_fst
from lmfst.grammar.parser import parse
from lmfst.grammar.syntax import Grammar

__all__ = ["CompiledModule", "CompiledRule", "Grammar", "compile_file", "parse", "to_fst"]
