"""Kept lexicons are those that were built, whatever order states are met in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lmfst.fst import Fst, Identity, Utf8
from lmfst.fst.sequential import Determinised
from lmfst.ground.cache import unsealed
from lmfst.lexicon import Lexicon, Lexicons
from lmfst.lexicon import store as lexicon_store
from tests.support.oracle import make_vocab, random_fst

TOKENS = [b"a", b"ab", b"b", b"ba", b"aab", b""]
TOKENS_READ = 3
Machine = Determinised | Identity | Utf8
PIECES = [
    b"a",
    "é".encode(),
    "é".encode()[:1],
    "é".encode()[1:],
    "€".encode()[:2],
    b"\xff",
    b"b\xe2",
]
"""Tokens that end inside characters, and bytes that are in none."""


@pytest.fixture(autouse=True)
def small_ones_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lexicon_store, "WORTHWHILE_TOKENS", 1)
    monkeypatch.setenv("LMFST_CACHE", str(tmp_path))


def lexicons(fst: Fst, tokens: list[bytes] = TOKENS) -> Lexicons:
    return under(Determinised(fst), tokens)


def under(machine: Machine, tokens: list[bytes]) -> Lexicons:
    first = [text[1:] for text in tokens]
    return Lexicons(make_vocab(tokens, first=first), machine)


def reached(found: Lexicons, *, backwards: bool = False) -> dict[object, Lexicon]:
    """The lexicons reached in at most ``TOKENS_READ`` tokens, by what their state is.

    Not all: where the function can't be made sequential, there is no end of them.
    """
    level = [found.start]
    seen = {found.start: found[found.start]}
    for _ in range(TOKENS_READ):
        following = {s for state in level for s in seen[state].next.tolist()} - {-1} - seen.keys()
        level = sorted(following, reverse=backwards)
        seen.update({state: found[state] for state in level})
    return {name(found, state): lexicon for state, lexicon in seen.items()}


def name(found: Lexicons, state: int) -> object:
    decoder, machine_state = found.pair(state)
    assert isinstance(found.machine, Machine)
    return decoder, tuple(found.machine.pairs(machine_state))


def refuse(self: Lexicons, decoder: int, state: int) -> Lexicon:
    raise AssertionError("built although it had been kept")


@pytest.mark.parametrize("seed", range(12))
def test_kept_lexicons_are_equal(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fst = random_fst(seed)
    require_equal_when_kept(lambda: lexicons(fst), monkeypatch)


@pytest.mark.parametrize("machine", [Identity, Utf8])
def test_kept_lexicons_of_built_in_machines_are_equal(
    machine: type[Identity | Utf8], monkeypatch: pytest.MonkeyPatch
) -> None:
    states = require_equal_when_kept(lambda: under(machine(), PIECES), monkeypatch)
    assert states == (2 if machine is Identity else 6)


def require_equal_when_kept(make: Callable[[], Lexicons], monkeypatch: pytest.MonkeyPatch) -> int:
    """How many states were compared."""
    one = make()
    built = reached(one)
    monkeypatch.setattr(Lexicons, "_build", refuse)
    other = make()
    # Met in another order, states have other numbers.
    kept = reached(other, backwards=True)
    assert kept.keys() == built.keys()
    for key, lexicon in kept.items():
        for array in (*lexicon_store.ARRAYS, "depth"):
            np.testing.assert_array_equal(getattr(lexicon, array), getattr(built[key], array))
        expected = [name(one, s) if s >= 0 else None for s in built[key].next.tolist()]
        assert [name(other, s) if s >= 0 else None for s in lexicon.next.tolist()] == expected
    return len(built)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"{}"])
def test_damaged_files_are_built_again(content: bytes, tmp_path: Path) -> None:
    fst = random_fst(3)
    built = reached(lexicons(fst))
    files = list(tmp_path.glob("lexicons/*/*.lexicon"))
    assert len(files) == len(built)
    for file in files:
        file.write_bytes(content)
    assert reached(lexicons(fst)).keys() == built.keys()
    assert all(file.read_bytes() != content for file in files)


def test_no_changed_byte_goes_unnoticed(tmp_path: Path) -> None:
    fst = random_fst(3)
    one = lexicons(fst)
    pair = one.pair(one.start)
    built = one[one.start]
    (file,) = tmp_path.glob("lexicons/*/*.lexicon")
    kept = file.read_bytes()
    other = lexicons(fst)
    assert other._store is not None
    for at in range(len(kept)):
        for flip in (1, 0x80, 0xFF):
            changed = kept[:at] + bytes([kept[at] ^ flip]) + kept[at + 1 :]
            assert unsealed(changed) is None, f"byte {at} changed by {flip}"
            if at % 97 == 0:
                file.write_bytes(changed)
                assert other._store.load(other, *pair) is None
    for size in range(len(kept)):
        assert unsealed(kept[:size]) is None
        if size % 97 == 0:
            file.write_bytes(kept[:size])
            assert other._store.load(other, *pair) is None
    file.write_bytes(kept)
    found = other._store.load(other, *pair)
    assert found is not None and np.array_equal(found.tokens, built.tokens)


def test_another_vocabulary_has_files_of_its_own(tmp_path: Path) -> None:
    fst = random_fst(3)
    reached(lexicons(fst))
    reached(lexicons(fst, TOKENS[:-1]))
    assert len(list(tmp_path.glob("lexicons/*"))) == 2


def test_small_vocabularies_keep_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexicon_store, "WORTHWHILE_TOKENS", 1000)
    reached(lexicons(random_fst(3)))
    assert not list(tmp_path.glob("lexicons/*"))
