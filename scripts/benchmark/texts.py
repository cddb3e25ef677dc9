"""The texts of the benchmark and what is derived from them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

LEAST, MOST = 20, 60
"""Bytes of a short line."""
GOALS = (30, 40, 50, 60)
"""Where short lines are cut, in turn, so that their lengths differ."""


def read_texts(path: Path, documents: int) -> list[str]:
    """The lines of a file; the first `documents` of them, or all if it is 0."""
    texts = [line for line in path.read_text(encoding="utf-8").split("\n") if line]
    return texts[: documents or None]


def spread(texts: Sequence[str], count: int) -> list[str]:
    """`count` of the texts, evenly spaced; all of them if it is 0."""
    if not 0 < count < len(texts):
        return list(texts)
    return [texts[(2 * i + 1) * len(texts) // (2 * count)] for i in range(count)]


def beginning(text: str, most: int) -> str:
    """The longest part of at most `most` bytes, from the beginning to before a space or the end."""
    part = text.encode()[: most + 1].decode(errors="ignore")
    return text if part == text and size([text]) <= most else part.rpartition(" ")[0]


def size(texts: Sequence[str]) -> int:
    """Bytes in UTF-8."""
    return sum(len(text.encode()) for text in texts)


def short_lines(texts: Sequence[str], count: int) -> list[str]:
    """`count` pieces of the texts, of LEAST to MOST bytes, cut at spaces, spread over all texts."""
    pieces: list[str] = []
    for text in texts:
        line = ""
        for word in text.split(" "):
            longer = f"{line} {word}" if line else word
            if line and size([longer]) > GOALS[len(pieces) % len(GOALS)]:
                pieces.append(line)
                longer = word
            line = longer
        pieces.append(line)
    fitting = [piece for piece in pieces if LEAST <= size([piece]) <= MOST]
    if len(fitting) < count:
        raise ValueError(f"the texts give {len(fitting)} short lines, not {count}: add texts")
    return [fitting[i * len(fitting) // count] for i in range(count)]


def of_length(texts: Sequence[str], length: int) -> str:
    """The first `length` bytes of the texts joined as paragraphs; fewer where a character would be
    cut in two."""
    whole = "\n\n".join(texts).encode()
    if len(whole) < length:
        raise ValueError(f"the texts have {len(whole)} bytes together, not {length}: add texts")
    return whole[:length].decode(errors="ignore")


def digest(texts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
