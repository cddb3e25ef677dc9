"""A tokenizer's files: what the transformers library makes of them, and what it needs for that.

A vocabulary counts as read only if the library gives a `tokenizers.Tokenizer` that has tokens of
text. It does more in silence: a class that finds none of its files makes itself a few special
tokens, and a SentencePiece model that can't be read is tried as a tiktoken file, whose failure is
all that is heard. So a failure is explained from the files themselves.
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from lmfst.ground.errors import ModelError
from lmfst.lm.files import PIECES, TEKKEN, WHOLE, ModelFiles

_MODULES = {
    "mistral-common": "mistral_common",
    "protobuf": "google.protobuf",
    "sentencepiece": "sentencepiece",
    "tiktoken": "tiktoken",
}
_SENTENCEPIECE_MODEL = "a SentencePiece model"
_RANKS = "a vocabulary of tiktoken"
_BARE_TEKKEN = "a Tekken vocabulary without its special tokens"
_NEEDS = {
    _SENTENCEPIECE_MODEL: ("sentencepiece", "protobuf"),
    _RANKS: ("tiktoken",),
    _BARE_TEKKEN: ("mistral-common",),
}
"""Forms of a vocabulary, and the packages that the library reads them with."""
_TIKTOKEN = re.compile(rb"[A-Za-z0-9+/]+=* [0-9]+\r?\n")
_SENTENCEPIECE = re.compile(rb"\n[\x00-\x7f]\n")
"""A first piece of at most 127 bytes, which begins with its text."""


def require_text(files: ModelFiles, tokenizer: Any) -> None:
    """ModelError if a tokenizer isn't one of the tokenizers library, or spells no text."""
    from tokenizers import Tokenizer

    kind = type(tokenizer).__name__
    if not isinstance(getattr(tokenizer, "backend_tokenizer", None), Tokenizer):
        raise ModelError(
            f"the tokenizer of {files.name} is a {kind}, which transformers has as Python code "
            "alone: nothing in its files says how its tokens are decoded",
            hint="lmfst reads what a tokenizer.json can define: use a model that has one, or write "
            "one with the tokenizers library (README, Tokenizers)",
        )
    added = tokenizer.added_tokens_decoder.values()
    special = {*tokenizer.all_special_tokens, *(t.content for t in added if t.special)}
    if tokenizer.get_vocab().keys() - special - {"▁"}:
        return
    read = ", ".join(dict.fromkeys(map(str, tokenizer.vocab_files_names.values())))
    raise ModelError(
        f"the tokenizer of {files.name} spells no text: a {kind} was made with "
        f"{len(tokenizer)} tokens of its own, because there is none of the files that it reads "
        f"({read})",
        hint="copy or save the tokenizer's files again, or correct tokenizer_class in "
        "tokenizer_config.json",
    )


def why_not_read(files: ModelFiles, error: Exception) -> ModelError | None:
    """What the files of a tokenizer that couldn't be loaded say of the reason, None if nothing.

    error: what the library raised, which may speak of another form than the file has.
    """
    if files.gguf or files.path(WHOLE) is not None:
        return None
    paths = [path for file in (TEKKEN, *PIECES) if (path := files.path(file)) is not None]
    forms = [(path, _form(path)) for path in paths]
    for path, form in forms:
        absent = [package for package in _NEEDS.get(form, ()) if not installed(package)]
        if absent:
            return ModelError(
                f"the tokenizer of {files.name} is in {path.name}, {form}, which transformers "
                f"reads only with {' and '.join(absent)} installed",
                hint=f"pip install {' '.join(absent)}; or convert it once where that is "
                "installed: AutoTokenizer.from_pretrained(folder).save_pretrained(folder) writes "
                f"{WHOLE}",
            )
    if not paths and files.path("vocab.json") and not files.path("merges.txt"):
        return ModelError(
            f"the tokenizer of {files.name} can't be loaded: it has vocab.json, and neither the "
            f"merges.txt that belongs to it nor {WHOLE}",
            hint="copy the file that is missing, too",
        )
    config = files.read("tokenizer_config.json") or {}
    if config.get("added_tokens_decoder") and sentencepiece_model(files) is not None:
        return ModelError(
            f"transformers can't convert the SentencePiece model of {files.name}, which is whole",
            hint="leave added_tokens_decoder out of tokenizer_config.json, which it can't place in "
            f"a Unigram model, or use a model that has a {WHOLE}",
        )
    unread = next(((path, form) for path, form in forms if path.name in PIECES), None)
    return None if unread is None else _unread(files.name, *unread, error)


def _unread(name: str, path: Path, form: str, error: Exception) -> ModelError:
    """The error for a file of pieces where nothing is missing."""
    if not form:
        why = "it is neither a SentencePiece model nor a vocabulary of tiktoken"
    else:
        said = " ".join(str(error).split())
        why = f"it begins like {form}, but transformers says: {said[:120]}"
    return ModelError(
        f"{path.name} of {name} can't be read as a tokenizer: {why}",
        hint="copy it again, it may be cut short"
        + ("" if path.name == PIECES[0] else f"; or name it {PIECES[0]}, which any class reads"),
    )


def installed(package: str) -> bool:
    """Whether a package that the library reads vocabularies with is there."""
    try:
        return importlib.util.find_spec(_MODULES[package]) is not None
    except ModuleNotFoundError:  # its parent isn't there
        return False


def _form(path: Path) -> str:
    """What a file is, a key of `_NEEDS`; "" for anything else."""
    try:
        if path.name == TEKKEN:
            held = json.loads(path.read_text(encoding="utf-8"))
            return _BARE_TEKKEN if isinstance(held, dict) and "special_tokens" not in held else ""
        with path.open("rb") as file:
            head = file.read(1024)
    except (OSError, ValueError, RecursionError):
        return ""
    if _SENTENCEPIECE.match(head):
        return _SENTENCEPIECE_MODEL
    return _RANKS if _TIKTOKEN.match(head) else ""


def sentencepiece_model(files: ModelFiles) -> Any:
    """The SentencePiece model that a tokenizer was made from, as its protocol buffer; None if it
    was made from another file."""
    if files.gguf or files.path(WHOLE) is not None:
        return None
    paths = (path for file in PIECES if (path := files.path(file)) is not None)
    path = next((path for path in paths if _form(path) == _SENTENCEPIECE_MODEL), None)
    if path is None or not all(map(installed, _NEEDS[_SENTENCEPIECE_MODEL])):
        return None
    from google.protobuf.message import DecodeError
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

    model = ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError:  # then it isn't what the tokenizer was made from
        return None
    return model
