"""Stages: what a decoder does to joined text, as transducers from a stream of pieces to bytes.

A stage reads the pieces of a token sequence one by one. It may hold bytes back until it knows that
more text follows; what it holds at the end is dropped. Stages compose by feeding each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

StageState = int


class Stage(Protocol):
    """A deterministic transducer over byte pieces."""

    start: StageState

    def step(self, state: StageState, piece: bytes) -> tuple[bytes, StageState] | None:
        """(what is emitted, the state after), or None if no finite machine can tell."""

    def why_not(self) -> str:
        """Why `step` gives None."""


class Strip:
    """Remove up to `start` characters `content` from the start and up to `stop` from the end.

    State: (characters still to be removed at the start) · (stop + 1) + characters held back.
    """

    def __init__(self, content: bytes, start: int, stop: int) -> None:
        self.content, self.stop = content, stop
        self.start = start * (stop + 1)

    def step(self, state: StageState, piece: bytes) -> tuple[bytes, StageState] | None:
        todo, held = divmod(state, self.stop + 1)
        while todo and piece.startswith(self.content):
            piece, todo = piece[len(self.content) :], todo - 1
        if not piece:
            return b"", todo * (self.stop + 1) + held
        text, held = self.content * held + piece, 0
        while held < self.stop and text.endswith(self.content):
            text, held = text[: -len(self.content)], held + 1
        return text, held

    def why_not(self) -> str:
        return ""


class EndOfWord:
    """The suffix of a token is a space, unless the token is the last: the space is held back.

    State: number of spaces held back (more than one if a token repeats the suffix).
    """

    start = 0

    def __init__(self, suffix: bytes) -> None:
        self.suffix = suffix

    def step(self, state: StageState, piece: bytes) -> tuple[bytes, StageState] | None:
        body, *rest = piece.split(self.suffix)
        return None if any(rest) else (b" " * state + body, len(rest))

    def why_not(self) -> str:
        return f"the end-of-word suffix {self.suffix.decode()!r} is inside the token"


def run_stages(
    stages: Sequence[Stage], states: Sequence[StageState], piece: bytes
) -> tuple[bytes, tuple[StageState, ...]] | Stage:
    """A piece through all stages: (bytes, states after), or the stage that can't tell."""
    after = []
    for stage, state in zip(stages, states, strict=True):
        moved = stage.step(state, piece)
        if moved is None:
            return stage
        piece, state = moved
        after.append(state)
    return piece, tuple(after)


def compose(
    tables: Sequence[Sequence[bytes | None]], stages: Sequence[Stage], failed: dict[int, str]
) -> tuple[list[list[bytes | None]], list[list[int]]]:
    """(bytes [state][id], next state [state][id]) of the stages fed with `tables`.

    tables: what the ids give as the first token and later (one table if that is the same). States
    are numbered as they are reached from the start. Ids that a stage can't tell go into `failed`.
    """
    start = (0, *(stage.start for stage in stages))
    numbers, queue = {start: 0}, [start]
    token_bytes: list[list[bytes | None]] = []
    next_state: list[list[int]] = []
    last = len(tables) - 1
    for place, states in ((key[0], key[1:]) for key in queue):  # grows while states are found
        here = len(token_bytes)
        row: list[bytes | None] = []
        after: list[int] = []
        for i, piece in enumerate(tables[place]):
            moved = None if piece is None else run_stages(stages, states, piece)
            if isinstance(moved, tuple):
                key = (last, *moved[1])
                if key not in numbers:
                    numbers[key] = len(queue)
                    queue.append(key)
                row.append(moved[0])
                after.append(numbers[key])
                continue
            if moved is not None:
                failed[i] = moved.why_not()
            row.append(None)
            after.append(here)
        token_bytes.append(row)
        next_state.append(after)
    return token_bytes, next_state
