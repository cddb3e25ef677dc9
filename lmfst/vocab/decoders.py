"""Decoder definitions of the tokenizers library, read step by step as a `Chain`.

One function a step, by the name of the step in the definition. A chain that is no finite sequential
machine raises ModelError naming the step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lmfst.ground.errors import ModelError
from lmfst.ground.types import Warn
from lmfst.vocab.chain import Chain, Piece, Pieces
from lmfst.vocab.stages import EndOfWord, Strip


def read_chain(definition: Any, tokens: Sequence[str | None], warn: Warn) -> Chain:
    """Read a decoder definition (parsed JSON; None if there is no decoder) over the given tokens.

    tokens: text of each id, None where the id is out of the support.
    """
    pieces: Pieces = list(tokens)
    chain = Chain(pieces, pieces, warn)
    if definition is None:
        # Without a decoder the library joins the tokens with spaces.
        chain.apply(lambda text: " " + text, first=lambda text: text)
        chain.level = "whole"
        return chain
    for step in _flat(definition):
        kind = step.get("type")
        if kind not in _STEPS:
            raise _refuse(kind, "it is not a finite sequential machine over tokens")
        _STEPS[kind](chain, step)
    return chain


def _flat(definition: Any) -> list[dict[str, Any]]:
    if definition.get("type") != "Sequence":
        return [definition]
    return [step for part in definition["decoders"] for step in _flat(part)]


def _refuse(kind: Any, why: str) -> ModelError:
    return ModelError(
        f"the tokenizer's decoder step {kind} can't be read as a finite machine: {why}",
        hint="supported are ByteLevel, Metaspace, WordPiece, BPEDecoder, and sequences of Replace, "
        "ByteFallback, Fuse and Strip",
    )


def _needs_open(chain: Chain, kind: str, levels: Sequence[str]) -> None:
    """Raise ModelError if the step comes too late in the chain."""
    if chain.stages or chain.level not in levels:
        raise _refuse(kind, "it comes after a step that joins tokens")


# One function per step, by the name of the step in the definition.


def _replace(chain: Chain, step: dict[str, Any]) -> None:
    pattern, content = step["pattern"], step["content"]
    literal = pattern.get("String")
    if chain.stages or chain.level != "token":
        _replace_joined(chain, literal or "", content)
    elif literal:
        chain.apply(lambda text: text.replace(literal, content))
    else:
        chain.apply(_library_replace(pattern, content))


def _library_replace(pattern: dict[str, str], content: str) -> Callable[[str], str]:
    """Regular expressions are the library's own: Python's dialect differs."""
    from tokenizers import Regex, decoders

    decoder = decoders.Replace(
        Regex(pattern["Regex"]) if "Regex" in pattern else pattern["String"], content
    )
    return lambda text: str(decoder.decode([text]))


def _replace_joined(chain: Chain, literal: str, content: str) -> None:
    """A literal replacement after tokens were joined: one character is replaced token by token."""
    if chain.stages or len(literal) != 1:
        raise _refuse("Replace", "its pattern may match across tokens that were joined before")
    if chain.bytewise == "none":
        chain.apply(lambda text: text.replace(literal, content))
        return
    old, new = literal.encode(), content.encode()
    if len(old) > 1:
        # A byte token cannot know whether it completes the character.
        if chain.bytewise == "all":
            raise _refuse("Replace", f"the character {literal!r} may be divided among tokens")
        _warn_of_byte_runs(chain, "Replace", literal)

    def swap(piece: Piece) -> Piece:
        if isinstance(piece, bytes):
            return piece.replace(old, new)
        return None if piece is None else piece.replace(literal, content)

    same = chain.first is chain.later
    chain.first = [swap(p) for p in chain.first]
    chain.later = chain.first if same else [swap(p) for p in chain.later]


def _warn_of_byte_runs(chain: Chain, kind: str, character: str) -> None:
    chain.warn(
        f"the tokenizer's decoder applies {kind} after ByteFallback: where byte tokens spell "
        f"{character!r} byte by byte, these bytes are kept here and would be changed there"
    )


def _metaspace(chain: Chain, step: dict[str, Any]) -> None:
    mark = step["replacement"]
    if chain.stages:
        raise _refuse("Metaspace", "it comes after Strip or BPEDecoder")
    if chain.level == "whole" and any(isinstance(p, bytes) for p in chain.later):
        raise _refuse("Metaspace", f"the character {mark!r} may be divided among joined tokens")
    if chain.level == "run":
        if any(isinstance(p, bytes) and mark.encode() in p for p in (*chain.first, *chain.later)):
            raise _refuse("Metaspace", f"byte tokens were made to spell {mark!r} before")
        _warn_of_byte_runs(chain, "Metaspace", mark)
    strips = step["prepend_scheme"] != "never"
    if chain.level == "whole" and strips:  # the whole text is the first item
        chain.apply(lambda text: text.replace(mark, ""))
    elif strips:
        chain.apply(lambda text: text.replace(mark, " "), first=lambda text: text.replace(mark, ""))
    else:
        chain.apply(lambda text: text.replace(mark, " "))


def _word_piece(chain: Chain, step: dict[str, Any]) -> None:
    """The library's own step, run on each token alone (first) and after an empty token (later)."""
    from tokenizers import decoders

    _needs_open(chain, "WordPiece", ("token",))
    decoder = decoders.WordPiece(step["prefix"], step["cleanup"])
    chain.apply(
        lambda text: str(decoder.decode(["", text])),
        first=lambda text: str(decoder.decode([text])),
    )


def _bpe(chain: Chain, step: dict[str, Any]) -> None:
    _needs_open(chain, "BPEDecoder", ("token",))
    if not step["suffix"]:
        raise _refuse("BPEDecoder", "its suffix is empty")
    chain.stages.append(EndOfWord(step["suffix"].encode()))


def _byte_level(chain: Chain, step: dict[str, Any]) -> None:
    """Characters of a token stand for bytes; a token with a character that doesn't is itself."""
    _needs_open(chain, "ByteLevel", ("token", "whole"))
    joined = chain.level == "whole"

    def spell(text: str) -> Piece:
        try:
            return bytes(map(_BYTE_OF.__getitem__, text))
        except KeyError:
            if joined:
                raise _refuse(
                    "ByteLevel", f"of joined text, token {text!r} has other characters"
                ) from None
            return text.encode()

    if joined and any(isinstance(p, bytes) for p in chain.later):
        raise _refuse("ByteLevel", "it comes after another step that gives bytes")
    chain.apply(spell)
    chain.bytewise, chain.level = "all", "whole"


def _byte_fallback(chain: Chain, step: dict[str, Any]) -> None:
    _needs_open(chain, "ByteFallback", ("token",))

    def spell(text: str) -> Piece:
        if len(text) == 6 and text.isascii() and text[:3] == "<0x" and text[5] == ">":
            digits = text[3:5]
            # The library reads the digits with Rust's from_str_radix, which allows a plus sign.
            if all(d in _HEX for d in digits) or (digits[0] == "+" and digits[1] in _HEX):
                return bytes([int(digits, 16)])
        return text

    chain.apply(spell)
    chain.bytewise, chain.level = "byte tokens", "run"


def _fuse(chain: Chain, step: dict[str, Any]) -> None:
    chain.level = "whole"


def _sentence_piece(chain: Chain, step: dict[str, Any]) -> None:
    """SentencePiece's own decoding. It drops a space at the start of the first piece, or at that of
    each piece until one spells something (where it merges spaces); byte pieces keep theirs."""
    _byte_fallback(chain, step)
    mark, drop = "▁", step["drop"]
    if drop == "none":
        chain.apply(lambda text: text.replace(mark, " "))
        return
    chain.apply(
        lambda text: text.replace(mark, " "),
        first=lambda text: text.removeprefix(mark).replace(mark, " "),
    )
    chain.waits = drop == "each"


def _strip(chain: Chain, step: dict[str, Any]) -> None:
    content, start, stop = step["content"], step["start"], step["stop"]
    if not start and not stop:
        return
    # The library aborts where a text is shorter than what it strips.
    chain.checkable = chain.checkable and not stop
    if chain.level == "whole":
        if chain.bytewise != "none" and len(content.encode()) > 1:
            raise _refuse("Strip", f"the character {content!r} may be divided among tokens")
        chain.stages.append(Strip(content.encode(), start, stop))
        return
    _needs_open(chain, "Strip", ("token",))
    spoken = [i for i, piece in enumerate(chain.later) if piece is not None]
    chain.apply(lambda text: _stripped(text, content, start, stop))
    for i in spoken:
        if chain.first[i] is None or chain.later[i] is None:
            chain.failed[i] = "the tokenizer's decoder step Strip takes more than the whole token"
            chain.first[i] = chain.later[i] = None


def _stripped(text: str, content: str, start: int, stop: int) -> str | None:
    """The text without its ends; None where the library aborts (more to cut than there is)."""
    cut = 0
    while cut < min(start, len(text)) and text[cut] == content:
        cut += 1
    end = len(text)
    for k in range(stop):
        if k >= len(text):
            return None
        if text[len(text) - 1 - k] != content:
            break
        end -= 1
    return text[cut:end] if cut <= end else None


_HEX = frozenset("0123456789abcdefABCDEF")
_STEPS: dict[Any, Callable[[Chain, dict[str, Any]], None]] = {
    "BPEDecoder": _bpe,
    "ByteFallback": _byte_fallback,
    "ByteLevel": _byte_level,
    "Fuse": _fuse,
    "Metaspace": _metaspace,
    "Replace": _replace,
    "SentencePiece": _sentence_piece,
    "Strip": _strip,
    "WordPiece": _word_piece,
}


def _byte_alphabet() -> dict[str, int]:
    """The byte-level alphabet: printable Latin-1 characters are themselves, the other bytes follow
    in order from U+0100 on."""
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(256) if byte not in set(kept)]
    return {chr(b): b for b in kept} | {chr(0x100 + k): b for k, b in enumerate(moved)}


_BYTE_OF = _byte_alphabet()
