"""Prefix spaces: tokenizers that read "ab" as " ab", and whose space that is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import TokenType
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from typer.testing import CliRunner

import lmfst
from lmfst.cli import app
from lmfst.ground.errors import ModelError, UsageError
from lmfst.lm.load import load_lm
from lmfst.vocab import read_tokenizer
from lmfst.vocab.spm import known_of_sentencepiece
from tests.support.tiny import change, make_folder, make_gguf


def logp(lm: Any, ids: Sequence[int]) -> float:
    """Log-probability of a token string and an end, rows normalised over the support."""
    support = np.array([t is not None for t in lm.vocab.token_bytes[-1]])
    support[list(lm.vocab.eos)] = True
    total, spelled = 0.0, [*ids, None]
    rows = np.asarray(lm.next_logp([tuple(ids[:n]) for n in range(len(ids) + 1)]), np.float64)
    for row, token in zip(rows, spelled, strict=True):
        row = np.where(support, row, -np.inf)
        wanted = [row[i] for i in lm.vocab.eos] if token is None else [row[token]]
        total += np.logaddexp.reduce(wanted) - np.logaddexp.reduce(row)
    return float(total)


def total(folder: Path | str, text: bytes, **options: Any) -> float:
    model = lmfst.load(str(folder), policy="exact", **options)
    (scored,) = model.score([text])
    return scored.logp


def both(lm: Any, *strings: Sequence[int]) -> float:
    return float(np.logaddexp.reduce([logp(lm, ids) for ids in strings]))


def byte_ids(lm: Any, text: bytes) -> list[int]:
    found = {data: i for i, data in reversed(list(enumerate(lm.vocab.token_bytes[-1]))) if data}
    return [found[text[k : k + 1]] for k in range(len(text))]


def kept_folder(path: Path) -> Path:
    """A model whose tokenizer puts a space before texts that decoding keeps, as `ByteLevel()`."""
    make_folder(path)
    definition = json.loads((path / "tokenizer.json").read_text())
    definition["pre_tokenizer"]["add_prefix_space"] = True
    (path / "tokenizer.json").write_text(json.dumps(definition))
    return path


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kept_folder(tmp_path_factory.mktemp("kept"))


def test_a_space_that_the_tokenizer_puts_is_not_the_texts(kept: Path) -> None:
    lm = load_lm(str(kept))
    a, b, space = byte_ids(lm, b"ab ")
    # With or without the space, both count; a text that begins with one needs two.
    assert total(kept, b"ab") == pytest.approx(both(lm, [a, b], [space, a, b]), abs=1e-6)
    assert total(kept, b" ab") == pytest.approx(logp(lm, [space, space, a, b]), abs=1e-6)
    assert total(kept, b"") == pytest.approx(both(lm, [], [space]), abs=1e-6)
    assert lm.describe()["prefix_space"] == "yes"
    assert lm.canonical(b"ab") == [space, a, b]


def test_the_space_can_be_the_texts(kept: Path) -> None:
    lm = load_lm(str(kept), prefix_space="no")
    a, b, space = byte_ids(lm, b"ab ")
    assert total(kept, b"ab", prefix_space="no") == pytest.approx(logp(lm, [a, b]), abs=1e-6)
    assert total(kept, b" ab", prefix_space="no") == pytest.approx(
        logp(lm, [space, a, b]), abs=1e-6
    )
    assert lm.describe()["prefix_space"] == "no"
    assert lm.canonical(b"ab") == [a, b]
    assert lm.canonical(b" ab") == [space, a, b]


def test_a_tokenizer_without_a_rule_can_be_given_one(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    lm = load_lm(str(folder), prefix_space="yes")
    a, b, space = byte_ids(lm, b"ab ")
    found = total(folder, b"ab", prefix_space="yes")
    assert found == pytest.approx(both(lm, [a, b], [space, a, b]), abs=1e-6)
    assert lm.canonical(b"ab") == [space, a, b]
    plain = load_lm(str(folder))
    assert plain.describe()["prefix_space"] == "no"
    assert total(folder, b"ab") == pytest.approx(logp(plain, [a, b]), abs=1e-6)


def test_the_distribution_after_nothing_sums_to_one(kept: Path) -> None:
    for rule in ("yes", "no"):
        model = lmfst.load(str(kept), policy="exact", prefix_space=rule)
        assert np.logaddexp.reduce(list(model.next_logp("").values())) == pytest.approx(0, abs=1e-6)


def test_prefix_space_on_the_command_line(kept: Path, tmp_path: Path) -> None:
    meta = tmp_path / "meta.json"
    arguments = ["convert", "--model", str(kept), "--exact", "--level", "text", "--meta", str(meta)]
    for rule, logged in (("auto", "yes"), ("no", "no")):
        done = CliRunner().invoke(app, [*arguments, "--prefix-space", rule, "-q"], input="ab\n")
        assert done.exit_code == 0, done.stderr
        assert json.loads(meta.read_text())["prefix_space"] == logged
        fields = done.stdout.splitlines()[1].split("\t")
        names = done.stdout.splitlines()[0].split("\t")
        found = float(fields[names.index("logp")])
        assert found == pytest.approx(total(kept, b"ab", prefix_space=rule), abs=1e-6)


def test_bad_rules_are_refused(kept: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--prefix-space must be one of auto, yes, no"):
        load_lm(str(kept), prefix_space="maybe")
    arpa = tmp_path / "m.arpa"
    arpa.write_text("\\data\\\nngram 1=2\n\n\\1-grams:\n-0.3 </s>\n-0.3 a\n\n\\end\\\n")
    with pytest.raises(UsageError, match="--prefix-space is for transformers models"):
        load_lm(str(arpa), prefix_space="yes")


# Tokenizers of every way to treat the space.

PIECES = ["<unk>", "▁", "a", "b", "▁a", "▁▁", "▁▁a"]


def word_level(pre: Any, decoder: Any, normalizer: Any = None) -> Tokenizer:
    """A tokenizer of single letters and pieces with spaces."""
    made = Tokenizer(
        models.BPE({p: i for i, p in enumerate(PIECES)}, [("▁", "a")], unk_token="<unk>")
    )
    made.pre_tokenizer, made.decoder = pre, decoder
    made.normalizer = normalizer
    made.add_special_tokens(["<unk>"])
    return made


def meta(scheme: str) -> Any:
    return pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)


REPLACE = decoders.Replace("▁", " ")
STRIP = [REPLACE, decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
PREPEND = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
TOKENIZERS = {
    "dropped by Metaspace": (meta("always"), decoders.Metaspace(), None, True),
    "dropped by Strip": (meta("first"), decoders.Sequence(STRIP), None, True),
    "dropped by Strip, prepended": (None, decoders.Sequence(STRIP), PREPEND, True),
    "kept, put by Metaspace": (meta("first"), decoders.Sequence(STRIP[:3]), None, True),
    "kept, prepended": (None, decoders.Sequence(STRIP[:3]), PREPEND, True),
    "no space": (meta("never"), decoders.Metaspace(prepend_scheme="never"), None, False),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_rule_is_found_by_encoding_and_decoding(name: str) -> None:
    pre, decoder, normalizer, prefixed = TOKENIZERS[name]
    made = word_level(pre, decoder, normalizer)
    said: list[str] = []
    for wish, expected in (("auto", prefixed), ("yes", True), ("no", False)):
        reading = read_tokenizer(
            made, size=len(PIECES), eos=[], prefix_space=wish, warn=said.append
        )
        vocab = reading.vocab
        space, a, b, spaced = 1, 2, 3, 4
        assert reading.prefixed is expected
        assert vocab.decode([a, b]) == b"ab"
        assert vocab.decode([spaced, b]) == (b"ab" if expected else b" ab")
        assert vocab.decode([space, spaced]) == (b" a" if expected else b"  a")
        assert vocab.decode([b, spaced, space, b]) == b"b a b"
        # The tokenizer's own tokens are those of the text that it is given, under its own rule.
        for text in ("ab", "b a", "aab"):
            assert vocab.decode(reading.encode(text)) == text.encode()
            if wish == "auto":
                assert reading.encode(text) == made.encode(text).ids
    assert not [text for text in said if "before it reads" in text or "no text" in text]


def test_a_tokenizer_that_changes_texts_is_warned_about() -> None:
    tokens = ["the", "cat", " ", "<unk>", "T"]
    made = Tokenizer(models.WordLevel({t: i for i, t in enumerate(tokens)}, unk_token="<unk>"))
    made.normalizer, made.decoder = normalizers.Lowercase(), decoders.Fuse()
    made.pre_tokenizer = pre_tokenizers.Split(" ", "isolated")
    said: list[str] = []
    read_tokenizer(made, size=5, eos=[], warn=said.append)
    (told,) = [text for text in said if "changes texts before" in text]
    assert "('The cat' as 'the cat')" in told


def test_a_tokenizer_that_reads_nothing_as_it_stands_is_warned_about() -> None:
    made = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    made.normalizer, made.decoder = normalizers.Prepend("b"), decoders.Fuse()
    said: list[str] = []
    reading = read_tokenizer(made, size=2, eos=[], warn=said.append)
    assert not reading.prefixed
    assert any("reads no text as it stands ('a' as 'ba')" in text for text in said)


# SentencePiece's own files.

MODELS = ("bpe", "unigram", "char", "word")
KINDS = [(kind, dummy, extra) for kind in MODELS for dummy in (0, 1) for extra in (0, 1)]
CLASSES = (None, "LlamaTokenizer", "T5Tokenizer", "GemmaTokenizer")


MORE: dict[str, Any] = {"byte_fallback": True, "user_defined_symbols": ["▁▁", "▁▁▁"]}
PLAIN: dict[str, Any] = {}


def train(folder: Path, kind: str, dummy: int, extra: int, **options: Any) -> Any:
    """Train a SentencePiece model and put it into a folder with a tiny llama model."""
    import transformers
    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    draw = np.random.default_rng(0)
    words = [
        "the",
        "cat",
        "sat",
        "on",
        "a",
        "mat",
        "and",
        "ran",
        "to",
        "Mary",
        "with",
        "12",
        "lambs",
    ]
    lines = (" ".join(draw.choice(words, 7)) for _ in range(300))
    with (folder / "tokenizer.model").open("wb") as file:
        SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_writer=file,
            vocab_size=330,
            hard_vocab_limit=False,
            model_type=kind,
            add_dummy_prefix=bool(dummy),
            remove_extra_whitespaces=bool(extra),
            minloglevel=3,
            **(PLAIN if kind in ("char", "word") else MORE),
            **options,
        )
    found = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    config = transformers.LlamaConfig(
        vocab_size=found.get_piece_size(),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=1,
        eos_token_id=2,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return found


def with_class(folder: Path, name: str | None) -> None:
    config = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    config |= {} if name is None else {"tokenizer_class": name}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(("kind", "dummy", "extra"), KINDS)
def test_sentencepiece_alone(tmp_path: Path, kind: str, dummy: int, extra: int) -> None:
    pytest.importorskip("sentencepiece")
    from transformers import AutoTokenizer

    own = train(tmp_path, kind, dummy, extra)
    draw = np.random.default_rng(1)
    for name in CLASSES if kind in ("bpe", "unigram") else CLASSES[1:2]:
        with_class(tmp_path, name)
        tokenizer = AutoTokenizer.from_pretrained(str(tmp_path))
        known = known_of_sentencepiece(tmp_path / "tokenizer.model", tokenizer)
        size = len(tokenizer)
        reading = read_tokenizer(tokenizer, size=size, eos=[2], known=known, warn=lambda m: None)
        assert reading.prefixed is bool(dummy or extra)
        vocab = reading.vocab
        # Ids are the tokenizer's: the same pieces as SentencePiece's own, by name.
        for text in ("the cat", "Mary sat on", "mat"):
            pieces = tokenizer.convert_ids_to_tokens(reading.encode(text))
            assert pieces == own.encode(text, out_type=str)
            assert vocab.decode(reading.encode(text)) == text.encode()
        usable = [i for i in range(size) if vocab.token_bytes[0][i] is not None]
        known_pieces = [own.id_to_piece(i) for i in range(own.get_piece_size())]
        marks = [p for p in ("▁", "▁▁", "<0x20>", "<0x41>") if p in known_pieces]
        marks = tokenizer.convert_tokens_to_ids(marks)
        for trial in range(300):
            chosen = draw.choice([*usable, *marks * 40], 1 + trial % 5).tolist()
            theirs = own.decode_pieces(tokenizer.convert_ids_to_tokens(chosen))
            if "\ufffd" not in theirs:
                assert vocab.decode(chosen) == theirs.encode(), chosen


def test_sentencepiece_alone_is_scored_as_the_model_reads(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    own = train(tmp_path, "unigram", 1, 0)
    with_class(tmp_path, None)
    lm = load_lm(str(tmp_path))
    assert lm.describe()["prefix_space"] == "yes"
    assert lm.canonical(b"the cat") == own.encode("the cat")
    own = train(tmp_path, "unigram", 0, 0)
    with_class(tmp_path, "LlamaTokenizer")
    lm = load_lm(str(tmp_path))
    assert lm.describe()["prefix_space"] == "no"
    assert lm.canonical(b"the cat") == own.encode("the cat")
    assert lm.canonical(b" the cat") == own.encode(" the cat")


def test_what_the_configuration_says_of_the_prefix_counts(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    train(tmp_path, "unigram", 1, 0)
    with_class(tmp_path, "LlamaTokenizer")
    for said in (False, True):
        change(tmp_path / "tokenizer_config.json", add_prefix_space=said)
        lm = load_lm(str(tmp_path))
        assert lm.describe()["prefix_space"] == ("yes" if said else "no")
        first = lm.vocab.names[lm.canonical(b"the cat")[0]]
        assert first.startswith("▁") == said


def test_sentencepiece_without_its_prefix_has_canonical_tokens(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    train(tmp_path, "bpe", 1, 0)
    with_class(tmp_path, None)
    lm = load_lm(str(tmp_path), prefix_space="no")
    own = lm.canonical(b"the cat")
    assert own is not None and lm.vocab.decode(own) == b"the cat"
    assert not lm.vocab.names[own[0]].startswith("▁")
    assert lm.vocab.names[lm.canonical(b" the cat")[0]].startswith("▁")


def test_lower_casing_without_capitals_is_told() -> None:
    letters = {letter: i for i, letter in enumerate("thec a")}
    made = Tokenizer(models.BPE(letters, []))
    made.normalizer, made.decoder = normalizers.Lowercase(), decoders.Fuse()
    said: list[str] = []
    read_tokenizer(made, size=len(letters), eos=[], warn=said.append)
    assert any("'The cat' as 'the cat'" in text for text in said)


def test_spaces_after_words_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    from transformers import AutoTokenizer

    train(tmp_path, "unigram", 1, 1, treat_whitespace_as_suffix=True)
    with_class(tmp_path, None)
    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path))
    with pytest.raises(ModelError, match="writes spaces after words"):
        known_of_sentencepiece(tmp_path / "tokenizer.model", tokenizer)


# GGUF files.

LLAMA = [
    ("<unk>", TokenType.UNKNOWN),
    ("<s>", TokenType.CONTROL),
    ("</s>", TokenType.CONTROL),
    *((f"<0x{byte:02X}>", TokenType.BYTE) for byte in range(256)),
    *((piece, TokenType.NORMAL) for piece in ("▁", "a", "b", "▁a", "▁▁")),
]


@pytest.mark.parametrize(("said", "prefixed"), [(True, True), (False, False), (None, True)])
def test_gguf_says_whether_there_is_a_prefix(
    tmp_path: Path, said: bool | None, prefixed: bool
) -> None:
    path = make_gguf(
        tmp_path / "m.gguf",
        bos=1,
        eos=2,
        template=None,
        vocabulary=LLAMA,
        kind="llama",
        space_prefix=said,
    )
    lm = load_lm(str(path))
    assert lm.describe()["prefix_space"] == ("yes" if prefixed else "no")
    ids = {name: i for i, (name, _) in enumerate(LLAMA)}
    a, b, spaced = ids["a"], ids["b"], ids["▁a"]
    assert lm.vocab.decode([spaced, b]) == (b"ab" if prefixed else b" ab")
    assert lm.canonical(b"ab") == ([spaced, b] if prefixed else [a, b])
    assert lm.canonical(b"b a") == [*([ids["▁"], b] if prefixed else [b]), spaced]


def test_after_a_prompt_no_space_is_the_tokenizers(kept: Path) -> None:
    model = lmfst.load(str(kept), policy="exact")
    after = model.after_source("ab")
    lm = model.lm
    a, b, space = byte_ids(lm, b"ab ")
    assert after.describe()["prompt_tokens"] == [space, a, b]
    for text, own in ((b"ba", [b, a]), (b" a", [space, a])):
        expected = logp(lm, [space, a, b, *own]) - logp_of_prefix(lm, [space, a, b])
        (scored,) = after.score([text])
        assert scored.logp == pytest.approx(expected, abs=1e-6)
        assert scored.canonical == pytest.approx(expected, abs=1e-6)
        assert list(after.lm.canonical(text) or ()) == own


def logp_of_prefix(lm: Any, ids: Sequence[int]) -> float:
    """Log-probability that a token string begins so."""
    whole = logp(lm, ids)
    row = np.asarray(lm.next_logp([tuple(ids)]), np.float64)[0]
    support = np.array([t is not None for t in lm.vocab.token_bytes[-1]])
    support[list(lm.vocab.eos)] = True
    row = np.where(support, row, -np.inf)
    without = np.logaddexp.reduce(row[list(lm.vocab.eos)]) - np.logaddexp.reduce(row)
    return float(whole - without)
