"""Models of transformers' files, made ready: weights, tokenizer, vocabulary, BOS and EOS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lmfst.ground.errors import ModelError, UsageError
from lmfst.ground.types import DType, PrefixSpace, Specials, Warn
from lmfst.lm.base import LM
from lmfst.lm.compiled import compile_layers
from lmfst.lm.devices import device_named
from lmfst.lm.ends import begin_token, end_tokens
from lmfst.lm.files import ModelFiles, model_files
from lmfst.lm.identity import identity
from lmfst.lm.known import known_of_files
from lmfst.lm.pretrained import load_config, load_model, load_tokenizer, prepare_library
from lmfst.lm.specials import refuse_specials
from lmfst.lm.spread import spread_of
from lmfst.lm.token_types import token_types, with_types
from lmfst.lm.transformers import TransformersLM
from lmfst.lm.truncated import TruncatedLM
from lmfst.vocab import Known, Reading, Vocab, read_tokenizer


@dataclass(frozen=True)
class TokensAs:
    """How tokens are read; the settings of `lmfst.lm.load.load_lm` by the same names."""

    bos: str
    specials: Specials
    prefix_space: PrefixSpace


@dataclass(frozen=True)
class RunAs:
    """How a model is run; the settings of `lmfst.lm.load.load_lm` by the same names."""

    dtype: DType
    device: str
    revision: str | None
    batch_tokens: int | None
    context: int | None
    compiled: bool
    tree: bool


@dataclass(frozen=True)
class _Parts:
    """What a model's files hold.

    rows: of the output layer. begin: the BOS id, or None. ends: EOS ids. known, types: what the
    files say of the tokenizer and its tokens. commit: the hub's version, or None. identity: see
    `lmfst.lm.identity`.
    """

    model: Any
    tokenizer: Any
    rows: int
    begin: int | None
    ends: Any
    known: Known
    types: Any
    commit: str | None
    identity: str | None


def load_transformers(name: str, tokens: TokensAs, running: RunAs, *, warn: Warn, note: Warn) -> LM:
    """The model in a folder or GGUF file, or of a hub name. Errors as of `load_lm`."""
    prepare_library()
    if running.context is not None and running.context < 1:
        raise UsageError(f"--context must be at least 1, not {running.context}")
    if running.compiled and spread_of(running.device):
        raise UsageError(
            "--compile and --device map don't go together", hint="leave one of them out"
        )
    parts = _parts(name, tokens.bos, running, warn, note)
    if running.compiled:
        note("compiling the model's layers")
        compile_layers(parts.model)
    reading, vocab = _vocabulary(name, parts, tokens, warn)
    facts = {
        "model": name,
        "revision": parts.commit or running.revision,
        "prefix_space": "yes" if reading.prefixed else "no",
    }
    lm = TransformersLM(
        parts.model,
        vocab,
        bos=parts.begin,
        batch_tokens=running.batch_tokens,
        encode=reading.encode,
        tree=running.tree,
        facts=facts,
        identity=None if running.compiled else parts.identity,
        warn=warn,
    )
    if running.context is None:
        return lm
    note(
        f"{name} is read with its last {running.context} token{'s' if running.context > 1 else ''} "
        "only; sums are those of that truncated model"
    )
    return TruncatedLM(lm, running.context)


def _parts(name: str, bos: str, running: RunAs, warn: Warn, note: Warn) -> _Parts:
    """Read a model's files."""
    place = device_named(running.device)
    with model_files(name, running.revision, note) as files:
        files.check(warn)
        config = load_config(files, warn)
        tokenizer = load_tokenizer(files, config, warn)
        begun = identity(files)
        model = load_model(files, config, running.dtype, place).eval()
        rows = _matching_rows(model, tokenizer, files, warn)
        ends = end_tokens(files, tokenizer, model, rows)
        known = known_of_files(files, tokenizer)
        begin = begin_token(files, tokenizer, bos, rows, warn)
        types = token_types(files, tokenizer, rows)
        # Files that were changed meanwhile aren't known to be those that were read.
        same = begun if begun == identity(files) else None
    return _Parts(model, tokenizer, rows, begin, ends, known, types, files.commit, same)


def _vocabulary(name: str, parts: _Parts, tokens: TokensAs, warn: Warn) -> tuple[Reading, Vocab]:
    """The tokenizer, read, and the vocabulary of it with what the files say of token types."""
    reading = read_tokenizer(
        parts.tokenizer,
        size=parts.rows,
        eos=parts.ends,
        specials=tokens.specials,
        prefix_space=tokens.prefix_space,
        known=parts.known,
        warn=warn,
    )
    vocab = with_types(reading.vocab, parts.types, text=tokens.specials == "text")
    refuse_specials(tokens.specials, vocab, name)
    return reading, vocab


def _matching_rows(model: Any, tokenizer: Any, files: ModelFiles, warn: Warn) -> int:
    """Rows of the output layer; ModelError if a token of the tokenizer has none.

    Special tokens may lack one, with a warning: Gemma 3's models of text alone have no row for
    their tokenizer's placeholder of an image. Without a warning for a GGUF file, whose tokens are
    as many as its rows: the library adds some of its own where it doesn't find one by its text.
    """
    name = files.name
    head = model.get_output_embeddings()
    rows = 0 if head is None else int(head.weight.shape[0])
    beyond = {i: token for token, i in tokenizer.get_vocab().items() if i >= rows}
    if not beyond:
        return rows
    last = max(beyond)
    known = tokenizer.added_tokens_decoder
    if not all(i in known and known[i].special for i in beyond):
        raise ModelError(
            f"the model and the tokenizer of {name} don't belong together: the output layer has "
            f"{rows} rows, and the tokenizer goes up to id {last} ({beyond[last]!r})",
            hint="copy the tokenizer that the model was saved with; if tokens were added to it, "
            "save the model again after model.resize_token_embeddings(len(tokenizer))",
        )
    if files.gguf:
        return rows
    warn(
        f"the output layer of {name} has {rows} rows, and {len(beyond)} special tokens of its "
        f"tokenizer are beyond ({beyond[last]!r}, id {last}): they have no probability"
    )
    return rows
