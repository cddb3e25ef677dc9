"""Lists of strings as FSTs: the relation that pynini's string_map gives, small, early output."""

from __future__ import annotations

from itertools import product

import pynini
from hypothesis import given
from hypothesis import strategies as st

from lmfst.grammar.labels import pynini_text
from lmfst.grammar.tries import trie_acceptor, trie_transducer

WORDS = ["".join(chars) for size in range(4) for chars in product("ab", repeat=size)]
OUTPUTS = ["".join(chars) for size in range(4) for chars in product("xy", repeat=size)]
rows = st.tuples(st.sampled_from(WORDS), st.sampled_from(OUTPUTS), st.sampled_from(["", "1", "2"]))


def relation(fst: pynini.Fst) -> dict[tuple[str, str], float]:
    """Input and output of each path of an acyclic FST, with the least weight."""
    found: dict[tuple[str, str], float] = {}
    if fst.start() != -1:
        for given_text, output, weight in fst.paths().items():
            pair = given_text, output
            found[pair] = min(float(weight), found.get(pair, float("inf")))
    return found


@given(entries=st.lists(rows, max_size=8))
def test_transducers_equal_string_map(entries: list[tuple[str, str, str]]) -> None:
    labelled = [(a.encode(), b.encode(), weight) for a, b, weight in entries]
    wanted: dict[tuple[str, str], float] = {}
    for text, output, weight in entries:
        wanted[text, output] = min(float(weight or 0), wanted.get((text, output), float("inf")))
    found = trie_transducer(labelled)
    assert relation(found) == wanted
    if entries:
        theirs = pynini.string_map([(a, b, weight or "0") for a, b, weight in entries])
        assert relation(theirs) == wanted


@given(strings=st.lists(st.sampled_from(WORDS), max_size=8))
def test_acceptors(strings: list[str]) -> None:
    found = trie_acceptor([text.encode() for text in strings])
    assert relation(found) == {(text, text): 0.0 for text in strings}
    assert found.properties(pynini.ACCEPTOR, True) == pynini.ACCEPTOR
    assert found.properties(pynini.I_DETERMINISTIC, True) == pynini.I_DETERMINISTIC
    # The minimal one has a state for each set of endings that some prefix has.
    prefixes = {text[:n] for text in strings for n in range(len(text) + 1)}
    endings = {
        frozenset(text.removeprefix(prefix) for text in strings if text.startswith(prefix))
        for prefix in prefixes
    }
    assert found.num_states() == len(endings)


def test_equal_ends_are_shared() -> None:
    """An inflected word list takes less than two states a stem, where its trie takes ten."""
    stems = [a + b + c for a, b, c in product("bdfgklmn", "aeiou", "rstp")]
    pairs = [(stem + end, stem) for stem in stems for end in ("ingly", "ing", "ed", "s")]
    # Three before the stem's last letter, and one each after "", i, in, ing, ingl, e, and the end.
    assert trie_acceptor([a.encode() for a, _ in pairs]).num_states() == 3 + 7
    found = trie_transducer([(a.encode(), b.encode(), "") for a, b in pairs])
    assert relation(found) == {pair: 0.0 for pair in pairs}
    assert found.num_states() < 2 * len(stems)


@given(entries=st.lists(rows, max_size=8))
def test_output_comes_early_and_input_is_deterministic(entries: list[tuple[str, str, str]]) -> None:
    fst = trie_transducer([(a.encode(), b.encode(), w) for a, b, w in entries])
    for prefix in WORDS[1:]:
        outputs = [b for a, b, _ in entries if a.startswith(prefix)]
        if not outputs:
            continue
        state, given_so_far = fst.start(), ""
        for char in prefix:
            (arc,) = [arc for arc in fst.arcs(state) if arc.ilabel == ord(char)]
            state, given_so_far = (
                arc.nextstate,
                given_so_far + "".join(map(chr, filter(None, [arc.olabel]))),
            )
        shared = next(n for n in range(4, -1, -1) if len({b[:n] for b in outputs}) == 1)
        least = outputs[0][: min(shared, len(prefix))]
        # One label for each arc as soon as all entries agree, so never more than they share.
        assert outputs[0][:shared].startswith(given_so_far)
        if len(set(outputs)) == 1 and all(
            len({b for a, b, _ in entries if a.startswith(prefix[:n])}) == 1
            for n in range(1, len(prefix))
        ):
            assert given_so_far == least


def test_any_label() -> None:
    labels = [1, 256, 0x10FFFF, 2**31 - 1]
    fst = trie_transducer([(labels, [7], "0.5"), ([1], [], "")])
    lattice = pynini.compose(pynini.accep(pynini_text(labels)), fst)
    assert [arc.olabel for state in lattice.states() for arc in lattice.arcs(state)] == [0, 7, 0, 0]
    assert trie_transducer([]).start() == trie_acceptor([]).start() == -1
