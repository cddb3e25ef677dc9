"""SentencePiece models, read by SentencePiece itself.

Where a model's only tokenizer file is SentencePiece's, transformers makes a tokenizer of it that
may put other spaces before a text than the model, and cut texts otherwise. What a piece spells,
which spaces are dropped and how a text is cut is asked of SentencePiece here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmfst.ground.errors import ModelError
from lmfst.vocab.checks import UNKNOWABLE
from lmfst.vocab.reading import Known

SPACE = "▁"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def known_of_sentencepiece(path: Path, tokenizer: Any) -> Known | None:
    """What a SentencePiece model says of the tokenizer that was made of it, whose ids may be
    others; None if the file is no such model.

    ModelError for a model that writes spaces after words. Needs the package sentencepiece.
    """
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor()
    try:
        processor.Load(str(path))
    except (RuntimeError, OSError):
        return None
    probes = [p for p in (processor.encode(x, out_type=str) for x in _LETTERS) if p]
    if any(pieces[-1].endswith(SPACE) for pieces in probes):
        raise ModelError(
            f"{path} writes spaces after words (treat_whitespace_as_suffix), which is not "
            "supported",
            hint="convert the tokenizer to a tokenizer.json",
        )
    adds = any(pieces[0].startswith(SPACE) for pieces in probes)
    # Of pieces that are spaces alone, decoding drops the first one's, or each one's.
    each = _drops_each(processor)
    drop = "each" if each else "first" if adds else "none"
    ids = _ids(processor, tokenizer)
    return Known(
        prefixed=drop != "none",
        decoder={"type": "SentencePiece", "drop": drop},
        encode=lambda text: [ids.get(i, -1) for i in processor.encode(text)],
        text=_text(processor, tokenizer, ids),
        decode=_decoder(processor, {own: piece for piece, own in ids.items()}),
    )


def _drops_each(processor: Any) -> bool:
    """Whether decoding drops a space after one that it dropped, asked with pieces that there are:
    others are decoded as they stand."""
    pieces = map(processor.id_to_piece, range(processor.get_piece_size()))
    word = next((p for p in pieces if p.startswith(SPACE) and p.strip(SPACE)), None)
    if word is None or processor.is_unknown(processor.piece_to_id(SPACE)):
        return False
    return not processor.decode_pieces([SPACE, word]).startswith(" ")


def _ids(processor: Any, tokenizer: Any) -> dict[int, int]:
    """SentencePiece's ids of ordinary pieces → the tokenizer's."""
    vocab = tokenizer.get_vocab()
    found = {}
    for i in range(processor.get_piece_size()):
        own = vocab.get(processor.id_to_piece(i))
        if own is not None and not (processor.is_control(i) or processor.is_unknown(i)):
            found[i] = own
    return found


def _text(processor: Any, tokenizer: Any, ids: dict[int, int]) -> frozenset[int]:
    """The tokenizer's ids of pieces that are text: all but those that its configuration declares
    special. (transformers adds symbols that a user defined to the special tokens.)"""
    declared = {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    named = {token for token in tokenizer.special_tokens_map.values() if isinstance(token, str)}
    declared |= set(tokenizer.convert_tokens_to_ids(sorted(named)))
    return frozenset(ids.values()) - declared


def _decoder(processor: Any, pieces: dict[int, int]) -> Any:
    def decode(ids: Sequence[int]) -> str:
        if not pieces.keys() >= set(ids):
            return UNKNOWABLE
        return str(processor.decode([pieces[i] for i in ids]))

    return decode
