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
from collections.abc import Callable, Sequence
from typing import Any, Literal

from lmfst.errors import ModelError, UsageError
from lmfst.vocab.chain import read_chain
from lmfst.vocab.machine import Vocab
from lmfst.vocab.spaces import spaces_hint

Warn = Callable[[str], None]
Specials = Literal["drop", "text", "error"]

NO_TOKEN = "no token with this id"
SYMBOL_SPECIALS = ("<s>", "</s>", "<unk>")

_BYTE_SYMBOL = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)


def vocab_from_symbols(
    names: Sequence[str],
    *,
    eos: Sequence[int],
    specials: Specials = "drop",
    warn: Warn = _warn,
) -> Vocab:
    """The vocabulary of a model whose tokens are their own text, such as an n-gram model's.

    names: the token of each id; it spells its own UTF-8 bytes (lone surrogates U+DC80..U+DCFF stand
    for bytes that were not UTF-8 in the file), and `<0xNN>` spells the byte NN. specials: whether
    `<s>`, `</s>` and `<unk>` spell nothing ("drop", "error") or their names ("text"); an EOS id
    spells nothing. Raises ModelError for an EOS id out of range.
    """
    _check_specials(specials)
    controls = {i for i, name in enumerate(names) if name in SYMBOL_SPECIALS} - set(eos)
    hidden = set() if specials == "text" else controls
    ended = set(eos)
    table: list[bytes | None] = []
    for i, name in enumerate(names):
        match = _BYTE_SYMBOL.fullmatch(name)
        if i in ended or i in hidden:
            table.append(None)
        elif match:
            table.append(bytes([int(match[1], 16)]))
        else:
            table.append(name.encode("utf-8", "surrogateescape"))
    vocab = Vocab(
        size=len(names),
        token_bytes=(table,),
        next_state=([0] * len(names),),
        specials=frozenset(controls),
        eos=tuple(dict.fromkeys(eos)),
        unmapped={},
        names=tuple(names),
    )
    _warn_if_endless(vocab, warn)
    return vocab


def vocab_from_tokenizer(
    tokenizer: Any,
    *,
    size: int,
    eos: Sequence[int],
    specials: Specials = "drop",
    warn: Warn = _warn,
) -> Vocab:
    """The vocabulary of a transformers fast tokenizer, or of a `tokenizers.Tokenizer`.

    size: rows of the LM's output. eos: ids that end the string. specials: "drop" keeps the special
    tokens and the model's unknown token out of the support, "text" lets them spell what the
    tokenizer's decoder prints for them; "error" reads as "drop": whoever meets their mass raises.

    Raises UsageError for other `specials`, ModelError if the tokenizer has no decoder definition,
    or one that is no finite machine.
    """
    _check_specials(specials)
    backend = _backend(tokenizer)
    tokens: list[str | None] = [backend.id_to_token(i) for i in range(size)]
    ended = tuple(dict.fromkeys(int(i) for i in eos))
    controls, unknown = _controls(tokenizer, backend, tokens)
    controls -= set(ended)
    hidden = set(ended) if specials == "text" else controls | set(ended)
    spoken = [None if i in hidden else token for i, token in enumerate(tokens)]
    definition = json.loads(backend.decoder.__getstate__()) if backend.decoder else None
    chain = read_chain(definition, spoken, warn)
    token_bytes, next_state = chain.machine()
    unmapped = {i: NO_TOKEN for i, token in enumerate(tokens) if token is None and i not in ended}
    if specials != "text":
        unmapped.update({i: "the model's unknown token" for i in unknown - set(ended)})
    unmapped.update(chain.failed)
    vocab = Vocab(
        size=size,
        token_bytes=tuple(token_bytes),
        next_state=tuple(next_state),
        specials=frozenset(controls),
        eos=ended,
        unmapped=unmapped,
        names=tuple(f"<id {i}>" if token is None else token for i, token in enumerate(tokens)),
        hint=spaces_hint(token_bytes),
    )
    _report(vocab, chain.failed, tokenizer, backend, warn)
    if chain.checkable:
        _check_against(vocab, tokenizer)
    return vocab


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


def _check_against(vocab: Vocab, tokenizer: Any, *, trials: int = 64) -> None:
    """Raise ModelError if the tokenizer decodes some short id sequences to other bytes.

    A safeguard against tokenizer classes that change what their decoder gives. Sequences are drawn
    with a fixed seed; those with a replacement character (no UTF-8) are passed over.
    """
    from tokenizers import Tokenizer

    options: dict[str, Any] = {"skip_special_tokens": False}
    if not isinstance(tokenizer, Tokenizer):
        options["clean_up_tokenization_spaces"] = False
    usable = [
        i for i in range(vocab.size) if all(table[i] is not None for table in vocab.token_bytes)
    ]
    draw = random.Random(0)
    for trial in range(trials if usable else 0):
        ids = [draw.choice(usable) for _ in range(1 + trial % 4)]
        theirs = tokenizer.decode(ids, **options)
        ours = vocab.decode(ids)
        if "\ufffd" not in theirs and theirs.encode("utf-8", "surrogatepass") != ours:
            raise ModelError(
                f"the decoder of this tokenizer ({type(tokenizer).__name__}) is not understood: "
                f"ids {ids} decode to {theirs!r}, its definition was read as giving {ours!r}",
                hint="tokenizer classes that change the decoded text are not supported",
            )
