"""The .grm language: Thrax grammars, parsed here and compiled through pynini.

`compile_file` gives the exported rules of a file as FSTs; `parse` only the syntax tree. This
package is the only one that calls pynini's compile functions.
"""

from lmfst.grammar.build import CompiledModule, CompiledRule, compile_file, to_fst
from lmfst.grammar.parser import parse
from lmfst.grammar.syntax import Grammar

__all__ = ["CompiledModule", "CompiledRule", "Grammar", "compile_file", "parse", "to_fst"]
