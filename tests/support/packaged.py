"""Tokenizers that come inside of packages: their files, and what these packages decode ids to."""

from __future__ import annotations

import importlib.util
import json
import random
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from lmfst.lm.files import model_files
from lmfst.lm.known import known_of_files
from lmfst.lm.pretrained import load_config, load_tokenizer, prepare_library
from lmfst.lm.token_types import token_types, with_types
from lmfst.vocab import Vocab, read_tokenizer

DATA = Path(sys.prefix) / "share" / "tokenizers"
"""Where `make` puts packages of which the tests read nothing but files."""
GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""

Decode = Callable[[Sequence[int]], bytes]


def packaged(file: str) -> Path:
    """A file of a package in `DATA`, or of one that is installed."""
    package, _, rest = file.partition("/")
    found = importlib.util.find_spec(package)
    places = [DATA / package]
    if found is not None and found.submodule_search_locations:
        places += map(Path, found.submodule_search_locations)
    path = next((place / rest for place in places if (place / rest).is_file()), None)
    if path is None:
        pytest.skip(f"{file} is not installed: make installs it")
    return path


def write_folder(
    path: Path,
    files: Mapping[str, Path | str | bytes],
    *,
    kind: str = "llama",
    tokenizer: Mapping[str, Any] | None = None,
    **config: Any,
) -> Path:
    """A model's folder without weights. files: name there -> file to copy, or contents. kind: its
    architecture. tokenizer: what tokenizer_config.json holds, None for no such file."""
    path.mkdir(parents=True, exist_ok=True)
    for name, source in files.items():
        if isinstance(source, Path):
            shutil.copyfile(source, path / name)
        elif isinstance(source, bytes):
            (path / name).write_bytes(source)
        else:
            (path / name).write_text(source, encoding="utf-8")
    (path / "config.json").write_text(json.dumps({"model_type": kind, **config}))
    if tokenizer is not None:
        (path / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return path


def read_folder(path: Path | str, *, padding: int = 3) -> tuple[Any, Vocab]:
    """(tokenizer, vocabulary) of a model, read as for it to be loaded, without its weights; its
    files must give no warning. padding: rows of its output layer beyond its tokens."""
    said: list[str] = []
    prepare_library()
    with model_files(str(path), None, lambda message: None) as files:
        files.check(said.append)
        config = load_config(files, said.append)
        tokenizer = load_tokenizer(files, config, said.append)
        ends = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        assert said == []
        size = len(tokenizer) + padding
        reading = read_tokenizer(
            tokenizer,
            size=size,
            eos=ends,
            known=known_of_files(files, tokenizer),
            warn=lambda message: None,
        )
        vocab = with_types(reading.vocab, token_types(files, tokenizer, size), text=False)
    return tokenizer, vocab


def ranked(name: str, path: Path, special: Mapping[str, int]) -> Any:
    """tiktoken's own reading of a file of ranks."""
    import tiktoken
    from tiktoken.load import load_tiktoken_bpe

    ranks = load_tiktoken_bpe(str(path))
    return tiktoken.Encoding(
        name, pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens=dict(special)
    )


def check_ids(vocab: Vocab, special: set[int]) -> None:
    """Every id spells something, ends a text, is special as expected, or is listed with a reason;
    an id is no two of these."""
    ends = set(vocab.eos)
    assert vocab.specials == special - ends
    for i in range(vocab.size):
        spells = [table[i] is not None for table in vocab.token_bytes]
        listed = i in vocab.specials or bool(vocab.unmapped.get(i))
        assert all(spells) or not any(spells), i
        assert [all(spells), i in ends, listed].count(True) == 1, i


def check_sequences(
    vocab: Vocab,
    decode: Decode,
    *,
    number: int = 2000,
    among: Sequence[int] | None = None,
    before: Sequence[int] = (),
) -> list[list[int]]:
    """Random id sequences decode to the bytes that the tokenizer's own package gives. before: what
    each begins with."""
    usable = [i for i in among or range(vocab.size) if vocab.token_bytes[0][i] is not None]
    draw = random.Random(7)
    drawn = [[*before, *(draw.choice(usable) for _ in range(1 + k % 8))] for k in range(number)]
    for ids in drawn:
        assert vocab.decode(ids) == decode(ids), ids
    return drawn
