"""Loading a language model: from the name that a user gives to a ready one.

`smollm2-135m` is the default model; `dna` the packaged model of DNA (a folder of that name is
./dna); `FILE.arpa` (or .arpa.gz) an n-gram model; `FILE.gguf` a GGUF file; anything else a
transformers folder or, where there is a network, a hub name.
"""

from __future__ import annotations

from lmfst.ground import defaults
from lmfst.ground.errors import ModelError, UsageError
from lmfst.ground.resources import resource_dir
from lmfst.ground.types import DType, PrefixSpace, Specials, Warn, require_choice
from lmfst.lm.backoff import BackoffLM
from lmfst.lm.base import LM
from lmfst.lm.files import PACKAGED, model_files
from lmfst.lm.identity import weights_and_configs
from lmfst.lm.load_ngram import load_ngram
from lmfst.lm.load_transformers import RunAs, TokensAs, load_transformers
from lmfst.vocab import NO_MARKS

ARPA = (".arpa", ".arpa.gz")


def load_lm(
    name: str = defaults.MODEL,
    *,
    bos: str = "auto",
    specials: Specials = "drop",
    prefix_space: PrefixSpace = "auto",
    dtype: DType = "float32",
    device: str = "auto",
    revision: str | None = None,
    batch_tokens: int | None = None,
    context: int | None = None,
    threads: int | None = None,
    compiled: bool = False,
    separator: str | None = None,
    marks: str = NO_MARKS,
    tree: bool = True,
    warn: Warn = lambda message: None,
    note: Warn = lambda message: None,
) -> LM:
    """Load a language model.

    bos: "auto" (the model's own begin token, see `lmfst.lm.ends`), "none", or a token. specials:
    what special tokens are, see `lmfst.vocab`. prefix_space: whether a space at the very start is
    the model's own and none of the text's: "auto", "yes" or "no", see `lmfst.vocab.prefix`. dtype,
    device: see `lmfst.lm.devices`.
    context: read the last so many tokens only, see `lmfst.lm.truncated`. threads: processor threads
    of torch in this process, for whatever uses it (None: as they are). compiled: see
    `lmfst.lm.compiled`. separator, marks: what stands between the tokens of an n-gram model, see
    `lmfst.vocab.words`. tree: evaluate contexts as token trees where the model can.
    warn, note: called with warnings and progress notes.

    Raises ModelError if it can't be loaded, UsageError for a setting outside its range.
    """
    require_choice("--specials", specials, Specials)
    require_choice("--dtype", dtype, DType)
    require_choice("--prefix-space", prefix_space, PrefixSpace)
    if threads is not None:
        _set_threads(threads)
    if name.lower().endswith(ARPA):
        _refuse_for_ngrams(context, prefix_space)
        return load_ngram(
            name, bos=bos, specials=specials, separator=separator, marks=marks, warn=warn
        )
    _refuse_for_transformers(name, separator, marks)
    reading = TokensAs(bos, specials, prefix_space)
    running = RunAs(dtype, device, revision, batch_tokens, context, compiled, tree)
    return load_transformers(name, reading, running, warn=warn, note=note)


def load_guide(name: str, *, warn: Warn) -> BackoffLM:
    """The n-gram model that a guide's name means: a file, or the one packaged with a model.

    Raises as `load_lm` does, UsageError for another kind of model, ModelError where most tokens are
    no single bytes.
    """
    if name in PACKAGED:
        name = str(resource_dir("data") / name / "markov5.arpa")
    elif not name.lower().endswith(ARPA):
        raise UsageError(
            f"--guide must be an n-gram model, not {name!r}",
            hint=f"give a {' or '.join(ARPA)} file, or {', '.join(PACKAGED)}",
        )
    lm = load_ngram(name, bos="auto", specials="drop", warn=warn, sums=False)
    texts = [text for text in lm.vocab.token_bytes[0] if text]
    longer = [text for text in texts if len(text) > 1]
    if 2 * len(longer) > len(texts):
        shown = longer[0].decode("utf-8", "replace")
        raise ModelError(
            f"{name}: expected a guide over single bytes, found {len(longer)} of {len(texts)} "
            f"tokens that are longer, such as {shown!r}",
            hint="a guide is a model of letters, such as the A, C, G and T of DNA; a model of "
            "words can be --model (with --separator ' '), but no guide",
        )
    return lm


def _refuse_for_ngrams(context: int | None, prefix_space: PrefixSpace) -> None:
    """UsageError for settings that n-gram models don't have."""
    if context is not None:
        raise UsageError(
            "--context is for transformers models; an n-gram model's order says how much it reads",
            hint="leave --context out: sums under n-gram models are exact with --exact",
        )
    if prefix_space != "auto":
        raise UsageError("--prefix-space is for transformers models: n-gram models have none")


def _refuse_for_transformers(name: str, separator: str | None, marks: str) -> None:
    """UsageError for settings that only n-gram models have."""
    if separator is not None or marks != NO_MARKS:
        option = "--separator" if separator is not None else "--marks"
        raise UsageError(
            f"{option} is for n-gram models ({' or '.join(ARPA)}), not {name!r}",
            hint=f"leave {option} out: the model's tokenizer says what stands between its tokens",
        )


def _set_threads(number: int) -> None:
    if number < 1:
        raise UsageError(f"--threads must be at least 1, not {number}")
    import torch

    torch.set_num_threads(number)


_VOCABULARIES = (".txt", ".model", ".tiktoken", ".vocab", ".bpe", ".py")
"""Suffixes of a tokenizer's files that aren't JSON."""


def model_paths(name: str, revision: str | None, note: Warn) -> list[str]:
    """The files that make a model what it is: its weights, what says how it computes, and its
    tokenizer. Of a model from a hub that isn't in the cache, not all: it has no weights then."""
    if name.lower().endswith(ARPA):
        return [name]
    with model_files(name, revision, note) as files:
        weights, others = weights_and_configs(files)
        if not others:
            return [str(path) for path in weights]
        beside = sorted(others[0].parent.iterdir())
        texts = [path for path in beside if path.suffix in _VOCABULARIES and path.is_file()]
        return [str(path) for path in (*weights, *others, *texts)]
