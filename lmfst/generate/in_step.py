"""Searches that go on in step: what all of them ask of the model at a time is one question.

A search is a generator that asks for states, each after a symbol, and is sent them. The states of
all searches began together (`lmfst.TransducedLM.states`), and the numbers are those of a search by
itself. Not here: what is searched (`lmfst.generate.decode`).

Measured (the default model, 16 prompts, one processor core): thirty bytes each take a 3.5th of the
processor time that they take one by one, three words each half of it, reading the prompts included.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TypeVar

from lmfst.ground.errors import BudgetError, Failure, InputError
from lmfst.inference.states import Extensible, advance_all

Result = TypeVar("Result")
Moves = Sequence[tuple[Extensible, int | None]]
"""States, and the symbols that they are to go on with; None: none, the state itself is wanted."""
Search = Generator[Moves, list[Extensible], Result]


def in_step(searches: Sequence[Search[Result]]) -> Iterator[Result | Failure]:
    """The result of each search, or why it has none, in order, each as soon as it is there and
    those before it are."""
    done: dict[int, Result | Failure] = {}
    asked: dict[int, Moves] = {}
    for number, search in enumerate(searches):
        _go_on(number, lambda search=search: next(search), asked, done)  # type: ignore[misc]
    for number in range(len(searches)):
        while number not in done:
            before, asked = asked, {}
            for one, states in _moved(before).items():
                if isinstance(states, BudgetError):
                    done[one] = states
                else:
                    send = searches[one].send
                    _go_on(one, lambda send=send, to=states: send(to), asked, done)  # type: ignore[misc]
        yield done.pop(number)


def _go_on(
    number: int,
    step: Callable[[], Moves],
    asked: dict[int, Moves],
    done: dict[int, Result | Failure],
) -> None:
    """Take a search further; note what it asks for, or what has come of it."""
    try:
        asked[number] = step()
    except StopIteration as end:
        done[number] = end.value
    except (InputError, BudgetError) as error:
        done[number] = error


def _moved(asked: dict[int, Moves]) -> dict[int, list[Extensible] | BudgetError]:
    """The states that searches ask for."""
    moving = [one for moves in asked.values() for one in moves if one[1] is not None]
    try:
        after = iter(
            advance_all([state for state, _ in moving], [s for _, s in moving if s is not None])
        )
    except BudgetError as error:
        if len(asked) == 1:
            return dict.fromkeys(asked, error)
        # One of them needs too much: which one?
        return {n: found for one in asked.items() for n, found in _moved(dict([one])).items()}
    return {
        number: [state if symbol is None else next(after) for state, symbol in moves]
        for number, moves in asked.items()
    }
