"""What follows a prefix of the target, given it: against quotients of sums by enumeration."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmfst.fst import Fst, Identity, Symbols, Utf8, run
from lmfst.ground.document import Document
from lmfst.ground.errors import InputError, UsageError
from lmfst.inference.accuracy import Tally
from lmfst.inference.policy import Beam, Exact, Policy, Tolerance
from lmfst.inference.sampling import Sample
from lmfst.lm.base import LM
from lmfst.model import TransducedLM
from lmfst.scored.records import Scored
from lmfst.target.load import Target, fst_target, load_target
from lmfst.target.prompts import Prompt, emitted
from lmfst.target.units import Units
from tests.inference.test_exactness import models
from tests.support.exact import close, some_strings
from tests.support.oracle import Oracle, TableLM, fst_function, make_vocab, random_fst, strings

SEP, NEW = 0xF0000, 0xF0001
# c separates words, d begins a unit.
WORDS = Fst.from_arcs(
    [(0, 97, 97, 0), (0, 98, 98, 0), (0, 99, SEP, 0), (0, 100, NEW, 0)],
    0,
    [0],
    Symbols("bytes", {SEP: "SEP", NEW: "NEWUNIT"}),
)


def after(model: TransducedLM, prompt: str | bytes, text: str | bytes, form: str) -> Scored:
    """A text after a prompt, both in one form."""
    return model.score([text], given=form, prompt=Prompt(prompt))[0]


def check_target_form(model: TransducedLM, oracle: Oracle, y: tuple[int, ...]) -> None:
    """What follows every prefix of a string, in target form."""
    for size in range(len(y) + 1):
        before = oracle.prefix(y[:size])
        if before == 0:
            with pytest.raises(InputError, match="the prompt"):
                after(model, bytes(y[:size]), bytes(y[size:]), "target")
            continue
        found = after(model, bytes(y[:size]), bytes(y[size:]), "target")
        assert found.target == y[size:]
        assert close(found.logp, oracle.string(y) / before)
        assert found.log_prefix[0] == 0
        for end in range(size, len(y) + 1):
            assert close(found.log_prefix[end - size], oracle.prefix(y[:end]) / before)
        assert found.missing is None or found.missing.sum() < 1e-12
        rows = found.unit_rows()
        assert [(row["start"], row["end"]) for row in rows[:-1]] == [
            (i, i + 1) for i in range(len(y) - size)
        ]


@settings(max_examples=25)
@given(models(), st.integers(0, 2**32 - 1))
def test_what_follows_a_prompt_is_a_quotient_of_sums(lm: TableLM, seed: int) -> None:
    fst = random_fst(seed)
    oracle = Oracle(lm, fst_function(fst))
    model = TransducedLM(lm, fst_target(fst, "random"), Exact(), warn=lambda message: None)
    for y in dict.fromkeys(some_strings(oracle, seed)[:4]):
        check_target_form(model, oracle, y)


@settings(max_examples=25)
@given(models(), st.integers(0, 2**32 - 1))
def test_prompts_in_source_form_are_what_is_emitted_for_certain(lm: TableLM, seed: int) -> None:
    fst = random_fst(seed)
    oracle = Oracle(lm, fst_function(fst))
    model = TransducedLM(lm, fst_target(fst, "random"), Exact())
    for text in list(strings(lm))[::5][:4]:
        y = model.transduce(text)
        for size in range(len(text) + 1):
            prefix = emitted(model.target, text[:size])
            assert y[: len(prefix)] == prefix
            found = after(model, text[:size], text[size:], "source")
            assert found.target == y[len(prefix) :]
            assert close(found.logp, oracle.string(y) / oracle.prefix(prefix))
            # The prompt by itself, before what is in target form.
            prompt = Prompt(text[:size], given="source")
            rest = bytes(y[len(prefix) :])
            mixed = model.score([rest], given="target", prompt=prompt)[0]
            assert mixed.target == found.target
            assert mixed.logp == pytest.approx(found.logp, abs=1e-9)


@settings(max_examples=25)
@given(models(), st.integers(0, 2**32 - 1))
def test_of_accepted_strings_only(lm: TableLM, seed: int) -> None:
    fst = random_fst(seed, partial=True)
    oracle = Oracle(lm, fst_function(fst))
    if not oracle.accepted:
        return
    model = TransducedLM(lm, fst_target(fst, "random"), Exact(), partial="condition")
    y = max(oracle.mass, key=lambda y: (oracle.mass[y], y))
    for size in range(len(y) + 1):
        found = after(model, bytes(y[:size]), bytes(y[size:]), "target")
        assert close(found.logp, oracle.string(y) / oracle.prefix(y[:size]))


@settings(max_examples=25)
@given(models("aé→".encode() + b"\xff"), st.integers(0, 2**32 - 1))
def test_characters_and_bytes_of_prompts_that_end_anywhere(lm: TableLM, seed: int) -> None:
    for machine in (Identity(), Utf8()):
        oracle = Oracle(lm, lambda text, machine=machine: run(machine, text))
        model = TransducedLM(lm, Target("own", machine, Units(machine.symbols)), Exact())
        text = max(strings(lm), key=lambda text: (len(text), text))
        y = model.transduce(text)
        for size in range(len(text) + 1):
            found = after(model, text[:size], text[size:], "source")
            prefix = emitted(model.target, text[:size])
            assert found.target == y[len(prefix) :]
            assert close(found.logp, oracle.string(y) / oracle.prefix(prefix))


@settings(max_examples=10)
@given(models(), st.integers(0, 2**32 - 1))
def test_all_that_follows_sums_to_one(lm: TableLM, seed: int) -> None:
    fst = random_fst(seed)
    oracle = Oracle(lm, fst_function(fst))
    model = TransducedLM(lm, fst_target(fst, "random"), Exact())
    y = some_strings(oracle, seed)[2]
    prompt = y[: len(y) // 2]
    rests = [bytes(z[len(prompt) :]) for z in oracle.mass if z[: len(prompt)] == prompt]
    if len(rests) < 300:
        found = model.score(rests, given="target", prompt=Prompt(bytes(prompt)))
        assert math.fsum(math.exp(one.logp) for one in found) == pytest.approx(1, abs=1e-9)


@settings(max_examples=60)
@given(models(), st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from([0.0, 1e-3, 0.1]))
def test_bounds_of_quotients_hold(lm: TableLM, seed: int, size: int, threshold: float) -> None:
    fst = random_fst(seed)
    oracle = Oracle(lm, fst_function(fst))
    policy = Beam(size=size, threshold=threshold)
    model = TransducedLM(lm, fst_target(fst, "random"), policy, warn=lambda message: None)
    for y in dict.fromkeys(some_strings(oracle, seed)[:3]):
        for cut in (len(y) // 2, len(y)):
            if not oracle.prefix(y[:cut]):
                continue
            try:
                found = after(model, bytes(y[:cut]), bytes(y[cut:]), "target")
            except InputError as error:
                assert "no hypothesis that was kept" in str(error)
                continue
            true = oracle.string(y) / oracle.prefix(y[:cut])
            row = found.text_row()
            assert math.exp(row["lower"]) <= true * (1 + 1e-9) + 1e-300
            assert true <= math.exp(row["upper"]) * (1 + 1e-9) + 1e-300
            assert row["lower"] <= row["logp"]


def policies() -> list[Policy]:
    return [Exact(), Beam(size=3, threshold=1e-3), Tolerance(size=4)]


@pytest.mark.parametrize("policy", policies())
def test_an_empty_prompt_changes_nothing(policy: Policy) -> None:
    lm = TableLM(make_vocab([b"a", b"b", b"ab", b"c"], extra=1), order=2, depth=6, seed=1,
                 merges=False)  # fmt: skip
    model = TransducedLM(lm, fst_target(WORDS, "words"), policy)
    texts = [b"abcab", b"", b"ccb"]
    plain = model.score(texts)
    for one, other in zip(
        plain, model.score(texts, prompt=Prompt("", given="source")), strict=True
    ):
        assert one.unit_rows() == other.unit_rows() and one.text_row() == other.text_row()


def words() -> TransducedLM:
    lm = TableLM(make_vocab([b"a", b"b", b"ab", b"c", b"d", b"bc"]), order=2, depth=5, seed=2,
                 merges=True)  # fmt: skip
    return TransducedLM(lm, fst_target(WORDS, "words"), Exact())


def test_the_rest_of_a_unit_that_the_prompt_has_begun_is_marked() -> None:
    model = words()
    whole = model.score(["abcbcab"])[0].unit_rows()
    assert [row["unit"] for row in whole] == ["ab", "b", "ab", "⊥"]
    rows = after(model, "a", "bcbcab", "source").unit_rows()
    assert [row["unit"] for row in rows] == ["…b", "b", "ab", "⊥"]
    assert [(row["start"], row["end"]) for row in rows] == [(0, 2), (2, 4), (4, 6), (6, 6)]
    expected = model.prefix_logp((97, 98, SEP)) - model.prefix_logp((97,))
    assert rows[0]["logp"] == pytest.approx(expected, abs=1e-9)
    for one, other in zip(rows[1:], whole[1:], strict=True):
        assert one["logp"] == pytest.approx(other["logp"], abs=1e-9)
    # Nothing more than that it is complete.
    rows = after(model, "ab", "cbcab", "source").unit_rows()
    assert [row["unit"] for row in rows] == ["…", "b", "ab", "⊥"]
    # The prompt ends with a unit, or another one begins: nothing is marked.
    assert after(model, "abc", "bcab", "source").unit_rows()[0]["unit"] == "b"
    assert after(model, "ab[SEP]", "b", "target").unit_rows()[0]["unit"] == "b"
    assert after(model, "ab", "[NEWUNIT]b", "target").unit_rows()[0]["unit"] == "b"
    # Nothing follows: the end.
    (row,) = after(model, "ab", "", "source").unit_rows()
    assert row["unit"] == "⊥" and (row["start"], row["end"]) == (0, 0)
    assert row["logp"] == pytest.approx(model.logp("ab") - model.prefix_logp("ab"), abs=1e-9)


def test_a_source_after_a_prompt_in_target_form_is_refused_where_it_has_no_meaning() -> None:
    with pytest.raises(UsageError, match="can't follow a prompt in target form") as error:
        words().score(["b"], given="source", prompt=Prompt("a[SEP]", given="target"))
    assert "--prompt-given source" in error.value.hint
    lm = words().lm
    for name in ("bytes", "chars"):
        model = TransducedLM(lm, load_target(name), Exact())
        one = model.score(["bc"], prompt=Prompt("ab", given="target"))[0]
        assert one.unit_rows() == after(model, "ab", "bc", "source").unit_rows()


def test_the_canonical_tokens_are_those_of_prompt_and_text() -> None:
    lm = TableLM(make_vocab([b"a", b"b", b"ab", b"c"]), order=3, depth=6, seed=4, merges=False)
    lm.canonical = lm.vocab.encode_any  # type: ignore[method-assign]
    model = TransducedLM(lm, load_target("bytes"), Exact())
    found = after(model, "ca", "bab", "source")
    tokens = [3, 2, 2]
    logp = math.fsum(float(lm.row(tuple(tokens[:i]))[t]) for i, t in enumerate([*tokens, 4]))
    assert found.canonical == pytest.approx(logp - model.prefix_logp("ca"), abs=1e-9)
    assert found.canonical < found.logp


class Special(LM):
    """Half of every row is a special token, but after the first `a` nothing is."""

    def __init__(self) -> None:
        self.vocab = make_vocab([b"a", b"b"], extra=1)

    def next_logp(self, contexts: Sequence[Sequence[int]]) -> np.ndarray:
        rows = [[0.2, 0.2, 0.1, 0.0 if tuple(c) == (0,) else 0.5] for c in contexts]
        with np.errstate(divide="ignore"):
            return np.log(np.array(rows))


def test_specials_count_from_the_prompt_on() -> None:
    model = TransducedLM(Special(), load_target("bytes"), Exact(), warn=lambda message: None)
    assert model.score(["ab"])[0].specials == pytest.approx(2 * math.log(2))
    # Of b, with a given: the row before b has none, that before the end has.
    assert after(model, "a", "b", "source").specials == pytest.approx(math.log(2))
    assert after(model, "ab", "", "source").specials == pytest.approx(math.log(2))
    assert after(model, "b", "a", "source").specials == pytest.approx(2 * math.log(2))


def quiet(lm: LM, policy: Policy) -> TransducedLM:
    return TransducedLM(lm, load_target("bytes"), policy, warn=lambda message: None)


def test_rows_are_those_of_the_whole_after_the_prompt_and_what_it_lacks_counts() -> None:
    lm = TableLM(make_vocab([b"a", b"b", b"ab", b"ba"]), order=3, depth=12, seed=5, merges=False)
    text = b"abbaabababab"
    for policy in (Beam(size=1, threshold=0.3), Tolerance(size=3, threshold=0.3, effort=1.1)):
        model = quiet(lm, policy)
        whole, tally = model.score([text])[0], Tally()
        assert whole.missing is not None and whole.missing[:4].sum() > 0
        documents = [Document("1", text[4:], "here")]
        prompt = Prompt(text[:4])
        (found,) = model.score_documents(documents, prompt=prompt, tally=tally)
        for row, other in zip(found.unit_rows(), whole.unit_rows()[4:], strict=True):
            assert row["missing"] == other["missing"] and row["unit"] == other["unit"]
            assert row["logp"] == pytest.approx(other["logp"], abs=1e-12)
        missing = found.text_row()["missing"]
        assert missing == pytest.approx(whole.text_row()["missing"], abs=1e-12)
        assert tally.missing == pytest.approx(missing)
        assert sum(tally.above.values()) == 1


def test_within_a_tolerance_what_follows_is_right() -> None:
    lm = TableLM(make_vocab([b"a", b"b", b"ab", b"ba", b"bab"]), order=3, depth=40, seed=6,
                 merges=False)  # fmt: skip
    model = quiet(lm, Tolerance(size=400, threshold=0.3, tolerance=0.01, effort=1e9))
    text = b"abbaabababbabaabbaba"
    exact = quiet(lm, Exact())
    for size in (5, 15, len(text)):
        found = after(model, text[:size], text[size:], "source")
        assert found.text_row()["missing"] <= 0.01
        true = exact.logp(text) - exact.prefix_logp(text[:size])
        assert found.logp == pytest.approx(true, abs=0.03)


def test_a_prompt_that_is_impossible_is_an_error_that_names_the_symbol() -> None:
    lm = TableLM(make_vocab([b"a", b"bb"]), order=2, depth=5, seed=2, merges=True)
    model = TransducedLM(lm, load_target("bytes"), Exact())
    with pytest.raises(InputError, match=r"text 1: .*the prompt.* zero .*symbol 2 \(a\)") as error:
        after(model, "aba", "a", "source")
    assert "symbol" in str(error.value)
    with pytest.raises(InputError, match="the prompt: position 2 is 'x'") as error:
        after(model, "ax", "a", "source")
    # Only documents can be left out, or reported.
    assert error.value.hint.endswith("mend it")
    # A text that is impossible after it is none: symbols are counted from the text's beginning.
    said: list[str] = []
    model = TransducedLM(lm, load_target("bytes"), Exact(), warn=said.append)
    assert after(model, "abb", "aba", "source").logp == -math.inf
    assert len(said) == 1 and "from symbol 2 (a) on" in said[0]


def test_a_prompt_that_ends_inside_a_character_is_none_in_target_form() -> None:
    lm = TableLM(make_vocab([b"a", b"\xc3", b"\xa9"]), order=2, depth=5, seed=2, merges=True)
    chars = TransducedLM(lm, load_target("chars"), Exact())
    with pytest.raises(InputError, match="ends inside a character") as error:
        after(chars, b"a\xc3", b"\xa9", "target")
    assert "--prompt-given source" in error.value.hint
    found = after(chars, b"a\xc3", b"\xa9a", "source")
    assert found.target == (0xE9, 97)
    assert found.logp == pytest.approx(chars.logp("aéa") - chars.prefix_logp("a"), abs=1e-9)
    as_bytes = TransducedLM(lm, load_target("bytes"), Exact())
    found = after(as_bytes, b"a\xc3", b"\xa9a", "target")
    expected = as_bytes.logp("aéa") - as_bytes.prefix_logp(b"a\xc3")
    assert found.logp == pytest.approx(expected, abs=1e-9)


def test_estimates_have_no_quotients() -> None:
    lm = words().lm
    model = TransducedLM(lm, load_target("bytes"), Sample(particles=4))
    with pytest.raises(UsageError, match="quotient") as error:
        after(model, "a", "b", "source")
    assert "--prompt-source" in error.value.hint


def test_every_document_may_have_its_own_prompt() -> None:
    model = words()
    rows = [{"before": "a"}, {"before": ""}, {"before": "abc"}]
    documents = [Document(str(i), b"bcab", f"row {i}", row=row) for i, row in enumerate(rows)]
    found = list(model.score_documents(documents, prompt=Prompt(column="before")))
    for one, row in zip(found, rows, strict=True):
        assert one.logp == pytest.approx(after(model, row["before"], "bcab", "source").logp)
    missing = Document("9", b"b", "row 9", row={"other": "a"})
    with pytest.raises(InputError, match=r"row 9: .*'before'.* no such field") as error:
        list(model.score_documents([missing], prompt=Prompt(column="before")))
    assert "'other'" in error.value.hint
    for value in (None, 3, ["a"]):
        wrong = Document("9", b"b", "row 9", row={"before": value})
        with pytest.raises(InputError, match=r"row 9: expected a prompt, a text"):
            list(model.score_documents([wrong], prompt=Prompt(column="before")))
    with pytest.raises(UsageError, match="one for each"):
        Prompt("a", column="before")


def test_amino_acids_in_the_other_case_and_unknown_ones() -> None:
    codons = Fst.from_arcs([(0, 65, 77, 0), (0, 67, 76, 0)], 0, [0], Symbols())
    lm = TableLM(make_vocab([b"A", b"C"]), order=2, depth=4, seed=2, merges=True)
    said: list[str] = []
    model = TransducedLM(lm, fst_target(codons, "amino"), Exact(), warn=said.append)
    found = after(model, "m", "lm", "target")
    assert found.target == (76, 77) and any("read in upper case" in one for one in said)
    assert found.logp == pytest.approx(model.logp("MLM") - model.prefix_logp("M"), abs=1e-9)
    with pytest.raises(InputError, match=r"the prompt: position 1 is 'Q'.*expected L M"):
        after(model, "Q", "M", "target")
    # X is any of them, as a prompt, too.
    document = Document("1", b"M", "1")
    (opened,) = model.score_documents([document], given="target", unknown="any", prompt=Prompt("X"))
    total = np.logaddexp(model.logp("LM"), model.logp("MM"))
    base = np.logaddexp(model.prefix_logp("L"), model.prefix_logp("M"))
    assert opened.logp == pytest.approx(float(total - base), abs=1e-9)
