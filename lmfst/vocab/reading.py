"""Vocabularies read from where they are defined: the decoder of a tokenizer.

What a token id spells is read from the tokenizer's own definition (added tokens, model, decoder),
never guessed from the look of its tokens. The step that transformers may add after decoding, which
removes spaces before punctuation (`clean_up_tokenization_spaces`), is no part of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lmfst.ground.announce import warn_default
from lmfst.ground.errors import ModelError
from lmfst.ground.types import PrefixSpace, Specials, Warn, require_choice
from lmfst.vocab.chain import Chain
from lmfst.vocab.checks import check_against, report
from lmfst.vocab.decoders import read_chain
from lmfst.vocab.machine import Vocab
from lmfst.vocab.prefix import (
    Encode,
    drops_space,
    find_own,
    without_drop,
    without_prefix,
)
from lmfst.vocab.spaces import spaces_hint
from lmfst.vocab.stages import Strip

NO_TOKEN = "no token with this id"


@dataclass(frozen=True)
class Known:
    """What a model's files say of its tokenizer, where the tokenizer that was made of them does
    otherwise. None, and nothing: as the tokenizer does.

    prefixed: whether a leading space is the model's own. decoder: a definition (parsed JSON).
    encode: the tokens of a text, no special ones; bare: makes one that puts no space before it, if
    it can; decode: the text of tokens, for checks. text: ids that are text, though the tokenizer
    calls them special.
    """

    prefixed: bool | None = None
    decoder: Any = None
    encode: Encode | None = None
    bare: Callable[[], Encode | None] = lambda: None
    decode: Callable[[Sequence[int]], str] | None = None
    text: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Reading:
    """A tokenizer, read. encode: the tokenizer's own tokens of a text, no special ones. prefixed:
    whether a leading space is the model's own and none of the text's."""

    vocab: Vocab
    encode: Encode
    prefixed: bool


def vocab_from_tokenizer(tokenizer: Any, **options: Any) -> Vocab:
    """The vocabulary of a tokenizer; arguments and errors as in `read_tokenizer`."""
    return read_tokenizer(tokenizer, **options).vocab


def read_tokenizer(
    tokenizer: Any,
    *,
    size: int,
    eos: Sequence[int],
    specials: Specials = "drop",
    prefix_space: PrefixSpace = "auto",
    known: Known | None = None,
    warn: Warn = warn_default,
) -> Reading:
    """Read a transformers fast tokenizer, or a `tokenizers.Tokenizer`.

    size: rows of the LM's output. eos: ids that end the string. specials: "drop" keeps the special
    tokens and the model's unknown token out of the support, "text" lets them spell what the
    tokenizer's decoder prints for them; "error" reads as "drop": whoever meets their mass raises.
    prefix_space: whether a leading space is the model's own ("yes") or the text's ("no"); "auto":
    the tokenizer's rule, see `lmfst.vocab.prefix`. known: what is known besides.

    Raises UsageError for other `specials` and `prefix_space`, ModelError if the tokenizer has no
    decoder definition, or one that is no finite machine.
    """
    require_choice("--specials", specials, Specials)
    require_choice("--prefix-space", prefix_space, PrefixSpace)
    known = known or Known()
    reader = _Reader(tokenizer, size, eos, specials, known, warn)
    definition = known.decoder
    if definition is None and reader.backend.decoder:
        definition = json.loads(reader.backend.decoder.__getstate__())
    chain = read_chain(definition, reader.spoken, warn)
    vocab = reader.vocab(chain)
    report(vocab, chain.failed, tokenizer, reader.backend, warn)
    if chain.checkable and (known.decoder is None or known.decode is not None):
        check_against(vocab, tokenizer, known.decode)
    encode = known.encode or _encode(tokenizer)
    own = find_own(vocab, encode, drops_space(definition))
    own.tell(warn)
    prefixed = own.prefixed if known.prefixed is None else known.prefixed
    if prefix_space != "auto":
        prefixed = prefix_space == "yes"
    if prefixed != own.drops:
        chain = read_chain(without_drop(definition), reader.spoken, lambda message: None)
        if prefixed:
            chain.stages.append(Strip(b" ", 1, 0))
        vocab = reader.vocab(chain)
    if prefixed and not own.prefixed:
        return Reading(vocab, lambda text: encode(" " + text), prefixed)
    if own.adds and not prefixed:
        encode = known.bare() or _encode(without_prefix(reader.backend))
    return Reading(vocab, encode, prefixed)


def _encode(tokenizer: Any) -> Encode:
    from tokenizers import Tokenizer

    if isinstance(tokenizer, Tokenizer):
        return lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids)
    return lambda text: list(tokenizer(text, add_special_tokens=False)["input_ids"])


class _Reader:
    """What is read of a tokenizer before its decoder.

    backend: the `tokenizers.Tokenizer`. spoken: text of each id, None: out of the support.
    """

    def __init__(
        self,
        tokenizer: Any,
        size: int,
        eos: Sequence[int],
        specials: Specials,
        known: Known,
        warn: Warn,
    ) -> None:
        self.backend = _backend(tokenizer)
        self._tokens: list[str | None] = [self.backend.id_to_token(i) for i in range(size)]
        self._ended = tuple(dict.fromkeys(int(i) for i in eos))
        ended = set(self._ended)
        controls, unknown = _controls(tokenizer, self.backend, self._tokens)
        self._controls = controls - ended - known.text
        hidden = ended if specials == "text" else self._controls | ended
        self.spoken = [None if i in hidden else token for i, token in enumerate(self._tokens)]
        missing = (i for i, token in enumerate(self._tokens) if token is None)
        self._unmapped = dict.fromkeys(missing, NO_TOKEN)
        if specials != "text":
            self._unmapped.update({i: "the model's unknown token" for i in unknown})
        for i in ended:
            self._unmapped.pop(i, None)

    def vocab(self, chain: Chain) -> Vocab:
        """The vocabulary under a decoder that was read over `spoken`."""
        token_bytes, next_state = chain.machine()
        names = (f"<id {i}>" if token is None else token for i, token in enumerate(self._tokens))
        return Vocab(
            size=len(self._tokens),
            token_bytes=tuple(token_bytes),
            next_state=tuple(next_state),
            specials=frozenset(self._controls),
            eos=self._ended,
            unmapped=self._unmapped | chain.failed,
            names=tuple(names),
            spaces=spaces_hint(token_bytes),
        )


def _backend(tokenizer: Any) -> Any:
    """The `tokenizers.Tokenizer` behind a tokenizer."""
    from tokenizers import Tokenizer

    for candidate in (tokenizer, getattr(tokenizer, "backend_tokenizer", None)):
        if isinstance(candidate, Tokenizer):
            return candidate
    raise ModelError(
        f"expected a fast tokenizer, one with a tokenizer.json, got a {type(tokenizer).__name__} "
        "without a decoder definition, so the bytes of its tokens are not known",
        hint="convert it once with transformers (AutoTokenizer, then save_pretrained) or use a "
        "model that has a tokenizer.json",
    )


def _controls(
    tokenizer: Any, backend: Any, tokens: Sequence[str | None]
) -> tuple[set[int], set[int]]:
    """(special ids with the unknown token, ids of the unknown token alone), within range.

    A token is special if it is declared so, or if its text is that of a special token, as in
    `decode(..., skip_special_tokens=True)`. (A normalised added token has another text.)
    """
    added = backend.get_added_tokens_decoder()
    texts = {token.content for token in added.values() if token.special}
    found = {i for i, token in enumerate(tokens) if token in texts}
    declared = [i for i, token in added.items() if token.special]
    declared += getattr(tokenizer, "all_special_ids", ())
    found.update(i for i in declared if 0 <= i < len(tokens))
    model = backend.model
    unknown: set[int] = set()
    if hasattr(model, "unk_token"):
        unknown = {i for i, token in enumerate(tokens) if token and token == model.unk_token}
    else:  # a Unigram model tells it in its definition only
        unk_id = json.loads(model.__getstate__()).get("unk_id")
        if unk_id is not None and unk_id < len(tokens):
            unknown = {unk_id}
    return found | unknown, unknown - found
