"""Files of tokenizers that can't be read: what is missing, damaged or of another kind is named."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from lmfst.ground.errors import ModelError
from lmfst.lm import tokenizer_files
from tests.support.packaged import read_folder, write_folder

FAST = {"tokenizer_class": "PreTrainedTokenizerFast"}


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Make lmfst and the library find these packages missing, and lmfst no others."""
    from transformers.utils import import_utils

    monkeypatch.setattr(tokenizer_files, "installed", lambda name: name not in packages)
    for name in packages:
        if name == "tiktoken":
            monkeypatch.setitem(sys.modules, "tiktoken.load", None)
        else:
            missing = (lambda: False, f"{{0}} requires {name}")
            monkeypatch.setitem(import_utils.BACKENDS_MAPPING, name, missing)


SPM = b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02"
RANKS = b"".join(base64.b64encode(bytes([b])) + b" %d\n" % b for b in range(256))
TEKKEN = json.dumps(
    {
        "config": {"pattern": ".", "default_vocab_size": 266, "default_num_special_tokens": 10},
        "vocab": [
            {"rank": b, "token_bytes": base64.b64encode(bytes([b])).decode(), "token_str": None}
            for b in range(256)
        ],
    }
)


@pytest.mark.parametrize(
    ("file", "held", "absent", "named"),
    [
        ("tokenizer.model", SPM, ["sentencepiece"], "pip install sentencepiece;"),
        ("tokenizer.model", SPM, ["protobuf"], "pip install protobuf;"),
        (
            "tokenizer.model",
            SPM,
            ["sentencepiece", "protobuf", "tiktoken"],
            "pip install sentencepiece protobuf;",
        ),
        ("tokenizer.model", RANKS, ["tiktoken"], "pip install tiktoken;"),
        ("tiktoken.model", RANKS, ["tiktoken"], "pip install tiktoken;"),
        ("tekken.json", TEKKEN, ["mistral-common"], "pip install mistral-common;"),
    ],
    ids=["pieces", "pieces-protobuf", "pieces-none", "ranks", "ranks-other-name", "tekken"],
)
def test_a_missing_package_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    held: str | bytes,
    absent: list[str],
    named: str,
) -> None:
    without(monkeypatch, *absent)
    folder = write_folder(tmp_path, {file: held}, tokenizer=FAST)
    with pytest.raises(ModelError) as caught:
        read_folder(folder)
    assert named in str(caught.value) and file in str(caught.value)
    assert " and ".join(named[len("pip install ") : -1].split()) in str(caught.value)


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (b"", "neither a SentencePiece model nor"),
        (b"\x00\x01 garbage\n" * 40, "neither a SentencePiece model nor"),
        (SPM + b"\n\x7fcut short", "begins like a SentencePiece model"),
        (RANKS + b"no base64 and no rank", "begins like a vocabulary of tiktoken"),
    ],
    ids=["empty", "neither", "pieces", "ranks"],
)
def test_damaged_vocabularies(tmp_path: Path, held: bytes, said: str) -> None:
    pytest.importorskip("sentencepiece")
    pytest.importorskip("tiktoken")
    folder = write_folder(tmp_path, {"tokenizer.model": held}, tokenizer=FAST)
    with pytest.raises(ModelError, match=rf"tokenizer.model of (.|\n)*{said}(.|\n)*copy it again"):
        read_folder(folder)


WORDS = json.dumps({"a": 0, "b": 1, "c": 2})


@pytest.mark.parametrize(
    ("kind", "files", "settings", "said"),
    [
        # Classes that make themselves a few tokens where they find no file.
        ("llama", {"vocab.json": WORDS}, {"tokenizer_class": "LlamaTokenizer"}, "LlamaTokenizer"),
        ("xglm", {"sentencepiece.bpe.model": SPM}, None, "XGLMTokenizer"),
        ("gpt2", {"vocab.txt": "a\nb\n"}, None, "GPT2Tokenizer"),
        ("gpt_neox", {"vocab.txt": "1 'a' 1\n"}, None, "GPTNeoXTokenizer"),
        ("qwen2", {"vocab.txt": "a\n"}, {"tokenizer_class": "QWenTokenizer"}, "Qwen2Tokenizer"),
    ],
)
def test_tokenizers_without_text(
    tmp_path: Path,
    kind: str,
    files: dict[str, str],
    settings: dict[str, Any] | None,
    said: str,
) -> None:
    folder = write_folder(tmp_path, files, kind=kind, tokenizer=settings)
    with pytest.raises(ModelError, match=rf"spells no text: a {said} (.|\n)*tokenizer_class"):
        read_folder(folder)


def test_a_vocabulary_without_its_merges(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"vocab.json": WORDS}, kind="gpt2")
    with pytest.raises(ModelError, match=r"has vocab.json, and neither the merges.txt"):
        read_folder(folder)


def test_tokenizers_in_python_alone(tmp_path: Path) -> None:
    settings = {"tokenizer_class": "ByT5Tokenizer"}
    folder = write_folder(tmp_path, {"vocab.txt": "a\n"}, tokenizer=settings)
    with pytest.raises(
        ModelError, match=r"ByT5Tokenizer, which (.|\n)*Python(.|\n)*tokenizer.json"
    ):
        read_folder(folder)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("qwen.tiktoken", r"qwen.tiktoken is read under the name tokenizer.model"),
        ("rwkv_vocab_v20230424.txt", "code of the model's own"),
        ("README.md", "save_pretrained"),
    ],
)
def test_folders_without_a_vocabulary(tmp_path: Path, file: str, said: str) -> None:
    with pytest.raises(ModelError, match=rf"no tokenizer(.|\n)*{said}"):
        read_folder(write_folder(tmp_path, {file: "x"}))


def test_code_of_a_tokenizers_own(tmp_path: Path) -> None:
    settings = {"auto_map": {"AutoTokenizer": ["tokenization_own.OwnTokenizer", None]}}
    folder = write_folder(tmp_path, {"vocab.txt": "a\n"}, tokenizer=settings)
    with pytest.raises(ModelError, match=r"code of its own \(tokenization_own.OwnTokenizer"):
        read_folder(folder)


def test_tekken_is_read_alike_with_and_without_mistral_common(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where mistral-common is installed, the library would take that, which defines no decoder."""
    from transformers.models.auto import tokenization_auto

    held = {**json.loads(TEKKEN), "special_tokens": [{"rank": 0, "token_str": "<s>"}]}
    folder = write_folder(tmp_path, {"tekken.json": json.dumps(held)}, kind="mistral")
    monkeypatch.setitem(
        tokenization_auto.TOKENIZER_MAPPING_NAMES, "mistral", "MistralCommonBackend"
    )
    monkeypatch.setattr(
        tokenization_auto,
        "_use_mistral_format",
        lambda name, mistral_format=None, **others: mistral_format is not False,
    )
    _, vocab = read_folder(folder, padding=0)
    assert vocab.token_bytes[0][10:] == [bytes([b]) for b in range(256)]
    assert vocab.specials == set(range(10))
