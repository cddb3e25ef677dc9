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
from lmfst.vocab.prefix import Encode
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
    drop = _drop(processor)
    ids = _ids(processor, tokenizer)
    return Known(
        prefixed=drop != "none",
        decoder={"type": "SentencePiece", "drop": drop},
        encode=lambda text: [ids.get(i, -1) for i in processor.encode(text)],
        bare=lambda: _without_prefix(path, ids),
        text=_text(processor, tokenizer, ids),
        decode=_decoder(processor, {own: piece for piece, own in ids.items()}),
    )


def _without_prefix(path: Path, ids: dict[int, int]) -> Encode | None:
    """The tokens of a text by the same model, but that it puts no space before; None without the
    package protobuf, by which alone the model's settings can be read."""
    try:
        from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2
    except ImportError:
        return None
    model = sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())
    model.normalizer_spec.add_dummy_prefix = False
    bare = SentencePieceProcessor(model_proto=model.SerializeToString())
    return lambda text: [ids.get(i, -1) for i in bare.encode(text)]


def _drop(processor: Any) -> str:
    """Whose leading space decoding drops: that of each piece until one spells something, that of
    the first piece, or none's. Asked with pieces that there are: others are decoded as they stand.
    """
    ordinary = [
        processor.id_to_piece(i)
        for i in range(processor.get_piece_size())
        if not (processor.is_control(i) or processor.is_unknown(i) or processor.is_byte(i))
    ]
    led = next((p for p in ordinary if p.startswith(SPACE) and p != SPACE), None)
    plain = next((p for p in ordinary if not p.startswith(SPACE)), None)
    if SPACE in ordinary and (plain is not None or led is not None):
        asked = [SPACE, SPACE, plain] if plain is not None else [SPACE, led]
    elif led is not None:
        # No piece is a space alone, so that one piece's is all that can be dropped.
        asked = [led]
    else:
        return "none"
    left = _spaces(processor.decode_pieces(asked).replace(" ", SPACE))
    return ("none", "first", "each")[_spaces("".join(map(str, asked))) - left]


def _spaces(text: str) -> int:
    """How many marks of spaces a text begins with."""
    return len(text) - len(text.lstrip(SPACE))


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
