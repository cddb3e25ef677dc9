"""Targets: what `--to` names, made ready and checked; texts to target symbols and back.

No model is known here but its vocabulary, and no probabilities.
"""

from lmfst.target.acceptor import Acceptor, load_acceptor, load_within
from lmfst.target.load import Target, load_fst, load_target
from lmfst.target.reader import Reader
from lmfst.target.units import Units

__all__ = [
    "Acceptor",
    "Reader",
    "Target",
    "Units",
    "load_acceptor",
    "load_fst",
    "load_target",
    "load_within",
]
