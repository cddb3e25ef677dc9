"""The context rule of texts that are longer than a model's context.

It depends on depth, the number of tokens so far, alone. With context length L and stride H = L // 2
a node of depth d ≥ L is read in window w = ceil((d - L + 1) / H): BOS, then the tokens of depth
w·H + 1 … d, so between L/2 and L of the last tokens. At depths below L it is window 0: all tokens.

A node is read in one window, and stands above others in that one or the next: a window w reaches
it if w·H < d, which no w > ceil((d - L + 1) / H) + 1 does.
"""

from __future__ import annotations

from dataclasses import dataclass


def stride_of(length: int) -> int:
    """By how many tokens a window begins after the one before, with contexts of `length`."""
    return max(1, length // 2)


def window_of(depth: int, length: int, stride: int) -> int:
    """The window in which a node of this depth is read."""
    return max(0, -((length - 1 - depth) // stride))


@dataclass(frozen=True)
class Windows:
    """The windows in which a model reads a text.

    length: tokens that the model reads at most, BOS included.
    """

    length: int

    @property
    def stride(self) -> int:
        """By how many tokens a window begins after the one before."""
        return stride_of(self.length)

    def window(self, depth: int) -> int:
        """The window in which a node of this depth is read."""
        return window_of(depth, self.length, self.stride)

    def first(self, window: int) -> int:
        """How many of a text's first tokens are before a window."""
        return window * self.stride

    def warning(self) -> str:
        """What to say of a text that is longer than the context."""
        return (
            f"a text is longer than the model's context of {self.length} tokens: from "
            f"there on every token is read after the last {self.stride} to {self.length - 1} ones"
        )
