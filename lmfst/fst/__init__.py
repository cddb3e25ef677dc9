"""Transducers as arrays: data class, OpenFst input and output, checks.

Bytes in, symbols out. `lmfst.fst.check` holds the checks that come before use: functional, total,
no output on a cycle that reads nothing.
"""

from lmfst.fst.apply import apply_all
from lmfst.fst.archive import read_far
from lmfst.fst.core import EPS, Fst, identity_bytes
from lmfst.fst.io import captured_stderr, read_fst, to_openfst, to_text, write_openfst
from lmfst.fst.openfst import from_openfst
from lmfst.fst.symbols import BYTES, Symbols
from lmfst.ground.types import InputMode

__all__ = [
    "BYTES",
    "EPS",
    "Fst",
    "InputMode",
    "Symbols",
    "apply_all",
    "captured_stderr",
    "from_openfst",
    "identity_bytes",
    "read_far",
    "read_fst",
    "to_openfst",
    "to_text",
    "write_openfst",
]
