"""Transducers as arrays: data class, OpenFst input and output, checks."""

from lmfst.fst.apply import apply_all
from lmfst.fst.core import EPS, Fst, identity_bytes
from lmfst.fst.openfst import from_openfst
from lmfst.fst.symbols import BYTES, Symbols

__all__ = ["BYTES", "EPS", "Fst", "Symbols", "apply_all", "from_openfst", "identity_bytes"]
