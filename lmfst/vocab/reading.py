"""Vocabularies read from where they are defined: a tokenizer's decoder, or a list of symbols.

What a token id spells is read from the tokenizer's own definition (added tokens, model, decoder),
never guessed from the look of its tokens. The step that transformers may add after decoding, which
removes spaces before punctuation (`clean_up_tokenization_spaces`), is no part of it.
"""

from __future__ import annotations

import json
import random
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from lmfst.errors import ModelError, UsageError
from lmfst.vocab.chain import Chain, read_chain
from lmfst.vocab.machine import Vocab
from lmfst.vocab.prefix import (
    PREFIX_SPACE,
    Encode,
    PrefixSpace,
    drops_space,
    find_own,
    without_drop,
    without_prefix,
)
from lmfst.vocab.spaces import spaces_hint
from lmfst.vocab.stages import Strip
from lmfst.vocab.words import NO_MARKS, hint_of, separator_of, spaced

Warn = Callable[[str], None]
Specials = Literal["drop", "text", "error"]

NO_TOKEN = "no token with this id"
UNKNOWABLE = "\ufffd"
"""Stands in decoded text for what is no text."""
UNKNOWN_SYMBOLS = ("<unk>", "<UNK>")
SYMBOL_SPECIALS = ("<s>", "</s>", *UNKNOWN_SYMBOLS)

_BYTE_SYMBOL = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)


def vocab_from_symbols(
    names: Sequence[str],
    *,
    eos: Sequence[int],
    specials: Specials = "drop",
    separator: str | None = None,
    marks: str = NO_MARKS,
    warn: Warn = _warn,
) -> Vocab:
    """The vocabulary of a model whose tokens are their own text, such as an n-gram model's.

    names: the token of each id; it spells its own UTF-8 bytes (lone surrogates U+DC80..U+DCFF stand
    for bytes that were not UTF-8 in the file), and `<0xNN>` spells the byte NN. specials: whether
    `<s>`, `</s>`, `<unk>` and `<UNK>` spell nothing ("drop", "error") or their names ("text"); an
    EOS id spells nothing. separator: the text between neighbouring tokens, which are words then
    (None: a space with marks, else nothing). marks: "none", "▁", "##" or "@@", see
    `lmfst.vocab.words`.

    Raises ModelError for an EOS id out of range, UsageError for other specials or marks.
    """
    _check_specials(specials)
    separator = separator_of(separator, marks)
    controls = {i for i, name in enumerate(names) if name in SYMBOL_SPECIALS} - set(eos)
    hidden = set() if specials == "text" else controls
    ended = set(eos)
    table: list[bytes | None] = []
    single = set()
    for i, name in enumerate(names):
        match = _BYTE_SYMBOL.fullmatch(name)
        if match:
            single.add(i)
        if i in ended or i in hidden:
            table.append(None)
        elif match:
            table.append(bytes([int(match[1], 16)]))
        else:
            table.append(name.encode("utf-8", "surrogateescape"))
    token_bytes, next_state = spaced(table, single, separator, marks)
    unknown = [names[i] for i in sorted(hidden) if names[i] in UNKNOWN_SYMBOLS]
    vocab = Vocab(
        size=len(names),
        token_bytes=token_bytes,
        next_state=next_state,
        specials=frozenset(controls),
        eos=tuple(dict.fromkeys(eos)),
        unmapped={},
        names=tuple(names),
        hint=hint_of(table, separator, marks, unknown),
    )
    _warn_if_endless(vocab, warn)
    return vocab


@dataclass(frozen=True)
class Known:
    """What a model's files say of its tokenizer, where the tokenizer that was made of them does
    otherwise. None, and nothing: as the tokenizer does.

    prefixed: whether a leading space is the model's own. decoder: a definition (parsed JSON).
    encode: the tokens of a text, no special ones; bare: without a space before it; decode: the text
    of tokens, for checks. hidden: ids out of the support → why. text: ids that are text, though the
    tokenizer calls them special.
    """

    prefixed: bool | None = None
    decoder: Any = None
    encode: Encode | None = None
    bare: Encode | None = None
    decode: Callable[[Sequence[int]], str] | None = None
    hidden: Mapping[int, str] = field(default_factory=dict)
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
    warn: Warn = _warn,
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
    _check_specials(specials)
    if prefix_space not in PREFIX_SPACE:
        raise UsageError(
            f"--prefix-space must be one of {', '.join(PREFIX_SPACE)}, not {prefix_space!r}"
        )
    known = known or Known()
    reader = _Reader(tokenizer, size, eos, specials, known, warn)
    definition = known.decoder
    if definition is None and reader.backend.decoder:
        definition = json.loads(reader.backend.decoder.__getstate__())
    chain = read_chain(definition, reader.spoken, warn)
    vocab = reader.vocab(chain)
    _report(vocab, chain.failed, tokenizer, reader.backend, warn)
    if chain.checkable and (known.decoder is None or known.decode is not None):
        _check_against(vocab, tokenizer, known.decode)
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
        encode = known.bare or _encode(without_prefix(reader.backend))
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
        hidden = {*known.hidden, *(ended if specials == "text" else self._controls | ended)}
        self.spoken = [None if i in hidden else token for i, token in enumerate(self._tokens)]
        missing = (i for i, token in enumerate(self._tokens) if token is None)
        self._unmapped = dict.fromkeys(missing, NO_TOKEN)
        self._unmapped.update(known.hidden)
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


def _check_specials(specials: str) -> None:
    if specials not in ("drop", "text", "error"):
        raise UsageError(f"specials must be drop, text or error, got {specials!r}")


def _warn_if_endless(vocab: Vocab, warn: Warn) -> None:
    if not vocab.eos:
        warn("the model has no end-of-string token: no string ever ends, ⊥ has probability 0")


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


def _report(vocab: Vocab, failed: dict[int, str], tokenizer: Any, backend: Any, warn: Warn) -> None:
    """Warn of what the numbers will lack."""
    if failed:
        first = next(iter(failed))
        warn(
            f"{len(failed)} tokens of the model can't be mapped to bytes and are left out, the "
            f"first is id {first} {vocab.names[first]!r}: {failed[first]}"
        )
    _warn_if_endless(vocab, warn)
    cleans = getattr(tokenizer, "clean_up_tokenization_spaces", False)
    if cleans and type(backend.model).__name__ != "BPE":
        warn(
            "this tokenizer asks for spaces before punctuation to be removed after decoding; that "
            "is not done here: the text is what its decoder gives, as with "
            "clean_up_tokenization_spaces=False"
        )


def _check_against(
    vocab: Vocab,
    tokenizer: Any,
    decode: Callable[[Sequence[int]], str] | None = None,
    *,
    trials: int = 64,
) -> None:
    """Raise ModelError if the tokenizer, or `decode`, gives other bytes for short id sequences.

    A safeguard against tokenizer classes that change what their decoder gives. Sequences are drawn
    with a fixed seed; those that give `UNKNOWABLE` are passed over.
    """
    from tokenizers import Tokenizer

    options: dict[str, Any] = {"skip_special_tokens": False}
    if not isinstance(tokenizer, Tokenizer):
        options["clean_up_tokenization_spaces"] = False
    decode = decode or partial(tokenizer.decode, **options)
    usable = [
        i for i in range(vocab.size) if all(table[i] is not None for table in vocab.token_bytes)
    ]
    draw = random.Random(0)
    for trial in range(trials if usable else 0):
        ids = [draw.choice(usable) for _ in range(1 + trial % 4)]
        theirs = decode(ids)
        ours = vocab.decode(ids)
        if UNKNOWABLE not in theirs and theirs.encode("utf-8", "surrogatepass") != ours:
            raise ModelError(
                f"the decoder of this tokenizer ({type(tokenizer).__name__}) is not understood: "
                f"ids {ids} decode to {theirs!r}, its definition was read as giving {ours!r}",
                hint="tokenizer classes that change the decoded text are not supported",
            )
