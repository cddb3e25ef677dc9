"""n-gram models of words and of pieces of words: values by hand, and messages that help."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import lmfst
from lmfst.cli import app
from lmfst.generate.next_units import REST, following
from lmfst.ground.errors import FstError, ModelError, UsageError
from lmfst.lm.arpa import write_arpa
from lmfst.lm.load import load_guide, load_lm
from lmfst.lm.ngram import Entry, Gram, NgramTables
from lmfst.model import TransducedLM
from lmfst.vocab import Vocab, vocab_from_symbols

UNIGRAMS = {"</s>": 0.2, "the": 0.4, "cat": 0.2, "sat": 0.2}
BIGRAMS = {("<s>", "the"): 0.8, ("the", "cat"): 0.6, ("cat", "sat"): 0.5, ("sat", "</s>"): 0.7}


def p(word: str, before: str) -> float:
    """The bigram model by its definition: a listed pair, or the word's share of what is left."""
    if (before, word) in BIGRAMS:
        return BIGRAMS[before, word]
    return left(before) * UNIGRAMS[word]


def left(before: str) -> float:
    """The backoff weight with which the probabilities after a word sum to 1."""
    listed = {w: q for (h, w), q in BIGRAMS.items() if h == before}
    return (1 - sum(listed.values())) / (1 - sum(UNIGRAMS[w] for w in listed))


def by_hand(text: str) -> float:
    """log p of a text of words, nats."""
    words = ["<s>", *text.split(), "</s>"]
    return sum(math.log(p(word, before)) for before, word in itertools.pairwise(words))


def model_of_words(path: Path, rename: dict[str, str] | None = None) -> Path:
    """The model as a file, words renamed."""
    new = rename or {}
    bow = {h: math.log10(left(h)) for h in {h for h, _ in BIGRAMS}}
    one: dict[Gram, Entry] = {("<s>",): (-99.0, bow["<s>"])}
    for w, q in UNIGRAMS.items():
        one[(new.get(w, w),)] = (math.log10(q), bow.get(w, 0.0))
    two: dict[Gram, Entry] = {
        (new.get(h, h), new.get(w, w)): (math.log10(q), 0.0) for (h, w), q in BIGRAMS.items()
    }
    write_arpa(NgramTables((one, two)), path)
    return path


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(model_of_words(tmp_path_factory.mktemp("arpa") / "words.arpa"))


def loaded(name: str, to: str = "bytes", **options: str) -> TransducedLM:
    return lmfst.load(name, to=to, policy="exact", **options)


@pytest.mark.parametrize("to", ["bytes", "chars"])
@pytest.mark.parametrize("text", ["the cat sat", "the cat", "the sat", "sat the the", "cat", ""])
def test_words_by_hand(words: str, text: str, to: str) -> None:
    model = loaded(words, to, separator=" ")
    assert model.logp(text) == pytest.approx(by_hand(text), abs=1e-9)
    assert model.lm.encode(text.encode()) == [[*UNIGRAMS].index(word) + 1 for word in text.split()]


def test_three_conditionals(words: str) -> None:
    """ "the cat" is the, cat after it, and the end after cat, for which the model backs off."""
    assert math.exp(loaded(words, separator=" ").logp("the cat")) == pytest.approx(
        0.8 * 0.6 * ((1 - 0.5) / (1 - 0.2) * 0.2), rel=1e-9
    )


def test_texts_and_prefixes_sum_to_one(words: str) -> None:
    model = loaded(words, separator=" ")
    shortest = [
        " ".join(w) for n in range(4) for w in itertools.product(["the", "cat", "sat"], repeat=n)
    ]
    assert math.fsum(math.exp(model.logp(t)) for t in shortest) == pytest.approx(
        math.fsum(math.exp(by_hand(t)) for t in shortest), abs=1e-9
    )
    # What begins with "the c" is "the cat" with anything behind it.
    assert model.prefix_logp("the c") == pytest.approx(math.log(0.8 * 0.6), abs=1e-9)
    after = model.next_logp("the cat")
    assert sum(map(math.exp, after.values())) == pytest.approx(1.0, abs=1e-9)
    assert after == pytest.approx(
        {" ": math.log(1 - p("</s>", "cat")), "⊥": math.log(p("</s>", "cat"))}, abs=1e-9
    )


@pytest.mark.parametrize("text", [" the", "the ", "the  cat", "thecat", "the\tcat"])
def test_other_white_space_is_another_text(words: str, text: str) -> None:
    assert loaded(words, separator=" ").logp(text) == -math.inf


def test_the_next_word(words: str) -> None:
    model = loaded(words, "words", separator=" ")
    found = dict(following(model, "the[SEP]", top=3))
    # A word that is next to "the" is no end: the rest is normalised again.
    goes_on = 1 - p("</s>", "the")
    expected = {w: math.log(p(w, "the") / goes_on) for w in ("the", "cat", "sat")}
    assert found.pop(REST) < -20
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("separator", "between"),
    [("\\t", "\t"), ("\\n", "\n"), (", ", ", "), ("\\\\", "\\"), ("_", "_")],
)
def test_separators_of_the_command_line(
    words: str, tmp_path: Path, separator: str, between: str
) -> None:
    (tmp_path / "text").write_text(between.join(["the", "cat"]))
    command = ["convert", "--model", words, "--exact", "--separator", separator, "--doc", "file"]
    files = ["--meta", str(tmp_path / "meta"), str(tmp_path / "text")]
    done = CliRunner().invoke(app, [*command, "--level", "text", *files])
    assert done.exit_code == 0 and done.stderr == ""
    row = dict(zip(*(line.split("\t") for line in done.stdout.splitlines()), strict=True))
    assert float(row["logp"]) == pytest.approx(by_hand("the cat"), abs=1e-8)
    assert '"separator"' in (tmp_path / "meta").read_text()


def test_options_that_do_not_fit(words: str, tmp_path: Path) -> None:
    for arguments, said in (
        (["--model", words, "--separator", "\\x"], "expected the escapes"),
        (["--model", words, "--marks", "#"], "--marks must be one of none, ▁, ##, @@"),
        (["--model", str(tmp_path), "--separator", " "], "--separator is for n-gram models"),
        (["--model", str(tmp_path), "--marks", "▁"], "--marks is for n-gram models"),
    ):
        for command in ("convert", "next"):
            done = CliRunner().invoke(app, [command, *arguments], input="")
            assert done.exit_code == 2 and said in done.stderr
    with pytest.raises(UsageError, match="--marks must be"):
        vocab_from_symbols(["a", "</s>"], eos=[1], marks="##a")


def test_a_transducer_that_reads_words_with_spaces_between_is_total(
    words: str, tmp_path: Path
) -> None:
    """It rejects " the", "thecat" and "the  cat", which the model doesn't write either."""
    grammar = tmp_path / "animals.grm"
    grammar.write_text(
        'word = ("the" : "x") | "cat" | "sat";\nexport RULE = (word (" " word)*)?;\n'
    )
    model = loaded(words, f"{grammar}:RULE", separator=" ")
    assert model.logp("x cat sat") == pytest.approx(by_hand("the cat sat"), abs=1e-9)
    with pytest.raises(FstError, match="not total: it rejects 'catcat'"):
        loaded(words, f"{grammar}:RULE")
    grammar.write_text('export RULE = ("the" | "cat") ((" the") | " sat")*;\n')
    with pytest.raises(FstError, match="not total: it rejects the empty string"):
        loaded(words, f"{grammar}:RULE", separator=" ")


# Marks of pieces.


def spelled(vocab: Vocab, *names: str) -> str:
    return vocab.decode([vocab.names.index(name) for name in names]).decode()


def test_sentencepiece_marks() -> None:
    names = ["▁the", "the", "▁", "s", "▁a▁b", "<0x41>", "</s>"]
    vocab = vocab_from_symbols(names, eos=[6], marks="▁")
    assert spelled(vocab, "▁the", "s", "▁the", "the") == "thes thethe"
    assert spelled(vocab, "the", "▁the") == spelled(vocab, "▁the", "▁the") == "the the"
    assert spelled(vocab, "▁", "▁the") == " the"
    assert spelled(vocab, "▁a▁b", "▁a▁b", "<0x41>") == "a b a bA"
    assert spelled(vocab_from_symbols(names, eos=[6], marks="▁", separator="_"), "s", "▁") == "s_"


def test_wordpiece_marks_are_read_as_its_decoder_does() -> None:
    from tokenizers import decoders

    names = ["the", "##re", "#", "##", "a", "</s>"]
    vocab = vocab_from_symbols(names, eos=[5], marks="##")
    theirs = decoders.WordPiece("##", cleanup=False)
    for tokens in itertools.product(["the", "##re", "#", "a"], repeat=3):
        assert spelled(vocab, *tokens) == theirs.decode(list(tokens))
    assert spelled(vocab, "a", "##", "a") == "a ## a"


def test_marks_behind() -> None:
    vocab = vocab_from_symbols(["th@@", "e", "cat", "@@", "</s>"], eos=[4], marks="@@")
    assert spelled(vocab, "th@@", "e", "cat", "th@@", "th@@", "e") == "the cat thth" + "e"
    assert spelled(vocab, "cat", "th@@") == "cat th"
    assert spelled(vocab, "@@", "cat") == "@@ cat"
    assert vocab.encode_any(b"cat the") == [2, 0, 1]


def test_empty_tokens_and_bytes_keep_their_meaning() -> None:
    vocab = vocab_from_symbols(["", "a", "<0x0A>", "</s>"], eos=[3], separator=" ")
    assert vocab.decode([0, 1, 0, 2, 1]) == b"a \n a"


def sums_of_pieces(
    tables: NgramTables, pieces: dict[str, bytes], first: dict[str, bytes], text: bytes
) -> float:
    """Σ over all ways to cut a text into pieces of the bigram model's probability, by recursion."""
    one, two = tables.grams

    def q(word: str, before: str) -> float:
        if (before, word) in two:
            return 10 ** two[before, word][0]
        return 10 ** (one[(before,)][1] + one[(word,)][0])

    def rest(at: int, before: str) -> Iterator[float]:
        if at == len(text):
            yield q("</s>", before) / total(before)
        for word, piece in (first if before == "<s>" else pieces).items():
            if text.startswith(piece, at) and piece:
                for value in rest(at + len(piece), word):
                    yield q(word, before) / total(before) * value

    def total(before: str) -> float:
        return sum(q(word, before) for (word,) in one if word != "<s>")

    return math.fsum(rest(0, "<s>"))


@pytest.mark.parametrize("text", ["thethe the", "the", "ththe ethe the e", "e the"])
def test_pieces_that_cut_a_text_in_several_ways(tmp_path: Path, text: str) -> None:
    """Histories meet where texts do: the same history with and without a separator due differ."""
    names = ["<s>", "</s>", "the", "##the", "th", "##th", "##e", "e"]
    rng = np.random.default_rng(0)
    one: dict[Gram, Entry] = {(w,): (-rng.random() - 0.3, -rng.random()) for w in names}
    two: dict[Gram, Entry] = {
        (v, w): (-rng.random() - 0.1, 0.0)
        for v, w in itertools.product(names, names)
        if w != "<s>" and rng.random() < 0.3
    }
    tables = NgramTables((one, two))
    write_arpa(tables, tmp_path / "m.arpa")
    later = {w: (w[2:] if w.startswith("##") else " " + w).encode() for w in names[2:]}
    begun = {w: w.encode() for w in names[2:]}
    model = loaded(str(tmp_path / "m.arpa"), marks="##", warn=lambda message: None)
    expected = sums_of_pieces(tables, later, begun, text.encode())
    assert model.logp(text) == pytest.approx(math.log(expected), abs=1e-9)


# Messages.


def warnings_of(text: str, name: str, **options: str) -> str:
    said: list[str] = []
    model = loaded(name, warn=said.append, **options)
    model.score([text])
    return "\n".join(said)


def test_a_model_of_words_without_separator_is_told(tmp_path: Path, words: str) -> None:
    said = warnings_of("the cat", words)
    assert "can't produce ' '; no token spells ' cat', from byte 3 on" in said
    assert "try --separator ' '" in said
    assert "try --separator" in warnings_of("the dog", words)
    assert warnings_of("the cat", words, separator=" ") == ""
    for mark, rename in (
        ("▁", {"the": "▁the", "cat": "▁cat"}),
        ("##", {"sat": "##sat"}),
        ("@@", {"sat": "sat@@"}),
    ):
        path = model_of_words(tmp_path / "m.arpa", rename)
        assert f"try --marks '{mark}'" in warnings_of("the cat", str(path))
    for single in ({"the": "t", "cat": "c", "sat": "s"}, {"the": "<0x20>"}):
        path = model_of_words(tmp_path / "m.arpa", single)
        assert "--separator" not in warnings_of("the dog", str(path))


def test_unknown_words_are_named(tmp_path: Path, words: str) -> None:
    said = warnings_of("the dog sat", words, separator=" ")
    assert "no token spells ' dog', from byte 3 on" in said and "' ' between them" in said
    assert "<unk>" not in said
    path = model_of_words(tmp_path / "m.arpa", {"cat": "<unk>"})
    said = warnings_of("the dog sat", str(path), separator=" ")
    assert "' dog'" in said and "<unk>, which stands for other words, is outside" in said
    assert "no token spells '  cat', from byte 3 on" in warnings_of(
        "the  cat", words, separator=" "
    )


def test_both_spellings_of_the_unknown_word_are_no_text(tmp_path: Path) -> None:
    path = model_of_words(tmp_path / "m.arpa", {"cat": "<UNK>"})
    vocab = load_lm(str(path)).vocab
    assert vocab.specials == {vocab.names.index("<s>"), vocab.names.index("<UNK>")}


def test_a_guide_of_words_is_refused(tmp_path: Path, words: str) -> None:
    # "a" is a byte, which made it a guide of sorts.
    path = model_of_words(tmp_path / "m.arpa", {"the": "a"})
    for name in (words, str(path)):
        with pytest.raises(ModelError, match=r"a guide over single bytes, found . of 3 tokens"):
            load_guide(name, warn=lambda message: None)
    done = CliRunner().invoke(
        app,
        ["convert", "--model", words, "--separator", " ", "--policy", "sample", "--guide", words],
        input="the cat\n",
    )
    assert done.exit_code == 1 and "a guide over single bytes" in done.stderr
