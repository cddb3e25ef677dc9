"""What tests of commands share."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmfst.fst import Fst, Symbols, write_openfst
from tests.support.cli import ARPA
from tests.support.tiny import write_normalised

SEP = 0xF0000


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small n-gram model."""
    return write_normalised(ARPA, tmp_path_factory.mktemp("model") / "m.arpa")


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An FST of words: c separates them."""
    arcs = [(0, byte, SEP if byte == 99 else byte, 0) for byte in range(256)]
    path = tmp_path_factory.mktemp("fst") / "words.fst"
    write_openfst(Fst.from_arcs(arcs, 0, [0], Symbols("bytes", {SEP: "SEP"})), path)
    return path
