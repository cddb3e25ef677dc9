"""Shortest token sequences that spell a byte string, over a vocabulary's decoder states.

Shortest paths over (position, decoder state). Time: O(bytes · longest token), memory: O(bytes ·
states).
"""

from __future__ import annotations

from collections.abc import Sequence

TokenBytes = list[bytes | None]

# Of one decoder state: byte string -> [(next state, lowest id)]; all proper prefixes of the byte
# strings; [(next state, lowest id)] of tokens that emit nothing.
_Moves = tuple[dict[bytes, list[tuple[int, int]]], set[bytes], list[tuple[int, int]]]


class Spelling:
    """What the tokens of a vocabulary can spell; arguments as of `lmfst.vocab.Vocab`."""

    def __init__(
        self, token_bytes: Sequence[TokenBytes], next_state: Sequence[Sequence[int]]
    ) -> None:
        self._states = len(token_bytes)
        self._moves = [
            _moves(table, after) for table, after in zip(token_bytes, next_state, strict=True)
        ]

    def shortest(self, data: bytes) -> list[int] | None:
        """A shortest token sequence (in tokens) that spells `data` exactly; None if there is none.

        Shortest path over (position, decoder state). Time: O(len(data) · longest token), memory:
        O(len(data) · states).
        """
        width = self._states
        best = self._paths(data)
        ends = [c for c in range(len(data) * width, (len(data) + 1) * width) if c in best]
        if not ends:
            return None
        cell, ids = min(ends, key=lambda c: best[c][0]), []
        while best[cell][1] >= 0:
            _, before, token = best[cell]
            ids.append(token)
            cell = before
        return ids[::-1]

    def length(self, data: bytes) -> int:
        """How many bytes the longest prefix of `data` has that a token sequence spells exactly."""
        return max(self._paths(data)) // self._states

    def _paths(self, data: bytes) -> dict[int, tuple[int, int, int]]:
        """Shortest token sequences to every (position, decoder state) that can be reached:
        position * states + state -> (tokens so far, cell before, token id)."""
        width = self._states
        best: dict[int, tuple[int, int, int]] = {0: (0, -1, -1)}
        for position in range(len(data) + 1):
            self._relax_empty(best, position * width)
            for state in range(width):
                cell = position * width + state
                if cell in best:
                    self._relax_spelling(best, data, cell)
        return best

    def _relax_spelling(
        self, best: dict[int, tuple[int, int, int]], data: bytes, cell: int
    ) -> None:
        """Every token that spells what comes at `cell`, in its decoder state."""
        width = self._states
        position, state = divmod(cell, width)
        spelled, prefixes, _ = self._moves[state]
        cost = best[cell][0] + 1
        end = position + 1
        while end <= len(data):
            piece = data[position:end]
            for after, token in spelled.get(piece, ()):
                target = end * width + after
                if target not in best or cost < best[target][0]:
                    best[target] = (cost, cell, token)
            if piece not in prefixes:
                break
            end += 1

    def _relax_empty(self, best: dict[int, tuple[int, int, int]], row: int) -> None:
        """Tokens that emit nothing but change the decoder state, until nothing improves."""
        width = self._states
        changed = width > 1
        while changed:
            changed = False
            for state in range(width):
                for after, token in self._moves[state][2] if row + state in best else ():
                    cost = best[row + state][0] + 1
                    if row + after not in best or cost < best[row + after][0]:
                        best[row + after] = (cost, row + state, token)
                        changed = True


def _moves(table: Sequence[bytes | None], after: Sequence[int]) -> _Moves:
    lowest: dict[tuple[bytes, int], int] = {}
    for i, data in enumerate(table):
        if data is not None:
            lowest.setdefault((data, after[i]), i)
    spelled: dict[bytes, list[tuple[int, int]]] = {}
    for (data, state), i in lowest.items():
        spelled.setdefault(data, []).append((state, i))
    empty = spelled.pop(b"", [])
    prefixes = {data[:k] for data in spelled for k in range(1, len(data))}
    return spelled, prefixes, empty
