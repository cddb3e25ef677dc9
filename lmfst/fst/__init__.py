"""Transducers: arrays, OpenFst files, the sequential form of a function, checks before use.

Bytes in, symbols out. The checks: functional, total, no output on a cycle that reads nothing. Not
here: compiling grammars (`lmfst.grammar`), what a model's tokens can spell (`lmfst.target`), and
whatever OpenFst does well.
"""

from lmfst.fst.apply import apply_all
from lmfst.fst.archive import read_far
from lmfst.fst.built_in import CODE_POINTS, Identity, Utf8
from lmfst.fst.capture import Capture, captured_stderr
from lmfst.fst.core import EPS, Fst, identity_bytes
from lmfst.fst.cycles import epsilon_output_cycle_witness
from lmfst.fst.functional import functional_witness
from lmfst.fst.io import read_acceptor, read_fst, to_openfst, to_text, write_openfst
from lmfst.fst.openfst import acceptor_from_openfst, from_openfst
from lmfst.fst.pattern import OneOf, Place
from lmfst.fst.sequential import Determinised, Sequential, Step, emit, run
from lmfst.fst.shown import escaped, show_bytes, show_output
from lmfst.fst.symbols import BYTES, END, Output, Symbols
from lmfst.fst.totality import Decoder, any_order, is_total, rejected_bytes, rejected_tokens

__all__ = [
    "BYTES",
    "CODE_POINTS",
    "END",
    "EPS",
    "Capture",
    "Decoder",
    "Determinised",
    "Fst",
    "Identity",
    "OneOf",
    "Output",
    "Place",
    "Sequential",
    "Step",
    "Symbols",
    "Utf8",
    "acceptor_from_openfst",
    "any_order",
    "apply_all",
    "captured_stderr",
    "emit",
    "epsilon_output_cycle_witness",
    "escaped",
    "from_openfst",
    "functional_witness",
    "identity_bytes",
    "is_total",
    "read_acceptor",
    "read_far",
    "read_fst",
    "rejected_bytes",
    "rejected_tokens",
    "run",
    "show_bytes",
    "show_output",
    "to_openfst",
    "to_text",
    "write_openfst",
]
