"""Lexicons: a vocabulary's tokens ordered by what they emit in each state of a machine.

Built on demand and kept in the cache folder. Not here: the machines (`lmfst.fst`), and sums over an
LM's rows (`lmfst.inference`).
"""

from lmfst.lexicon.lexicon import Lexicon
from lmfst.lexicon.lexicons import Lexicons

__all__ = ["Lexicon", "Lexicons"]
