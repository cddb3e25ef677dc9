"""Where a run's time goes, and its kernels and crossings: the model's side, tensors, the rest.

A run is in one part at a time: what is called inside of another part belongs to the inner one
alone, so that the parts add up to the whole.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from types import FrameType
from typing import Any
from unittest.mock import patch

import torch
from numpy.typing import ArrayLike
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from lmfst.lm.base import LM, Session, States

MODEL, TENSORS, HOST = "model", "tensors", "host"
"""The model's side: sessions and tokenizer. Normalisers, and rows reduced to the table. All the
rest."""
READING = {"lmfst.inference.reduction": ("Reduction.add", "Reduction.end")}
BEFORE = {"lmfst.inference.row_table": ("Normaliser.__call__", "RowTable.read")}
"""Module → functions whose time is tensor work; and the same of versions without the former."""


class Parts:
    """The seconds of each part. clock: gives seconds.

    calls, asked: how often sessions were asked for rows, and for how many.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Begin in the part `HOST`, with nothing counted."""
        self.seconds: Counter[str] = Counter()
        self.calls = self.asked = 0
        self._inside = [HOST]
        self._since = self._clock()

    @property
    def now(self) -> str:
        """The part that a run is in."""
        return self._inside[-1]

    def enter(self, part: str) -> None:
        self._switch()
        self._inside.append(part)

    def leave(self) -> None:
        self._switch()
        self._inside.pop()

    def read(self) -> dict[str, float]:
        """The seconds of each part so far."""
        self._switch()
        return {part: self.seconds[part] for part in (MODEL, TENSORS, HOST)}

    def _switch(self) -> None:
        now = self._clock()
        self.seconds[self._inside[-1]] += now - self._since
        self._since = now

    def inside(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose calls are in a part."""

        @wraps(function)
        def watched(*args: Any, **options: Any) -> Any:
            self.enter(part)
            try:
                return function(*args, **options)
            finally:
                self.leave()

        return watched

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Have what `READING` names counted as tensor work. AttributeError where it isn't there."""
        with ExitStack() as stack:
            reading = READING if all(map(find_spec, READING)) else BEFORE
            for module, names in reading.items():
                for name in names:
                    *owners, last = name.split(".")
                    owner: Any = import_module(module)
                    for part in owners:
                        owner = getattr(owner, part)
                    watched = self.inside(TENSORS, getattr(owner, last))
                    stack.enter_context(patch.object(owner, last, watched))
            yield


class WatchedLM(LM):
    """`lm`, whose sessions and tokenizer are in the part `MODEL`."""

    def __init__(self, lm: LM, parts: Parts) -> None:
        self._lm, self._parts = lm, parts
        self.vocab, self.merges = lm.vocab, lm.merges
        # Not there in versions of before.
        self.batch_symbols = getattr(lm, "batch_symbols", 8192)

    def next_logp(self, contexts: Sequence[Sequence[int]]) -> ArrayLike:
        return self._parts.inside(MODEL, self._lm.next_logp)(contexts)

    def canonical(self, data: bytes) -> Sequence[int] | None:
        return self._parts.inside(MODEL, self._lm.canonical)(data)

    def encode(self, data: bytes) -> Sequence[int] | None:
        return self._parts.inside(MODEL, self._lm.encode)(data)

    def session(self) -> Session:
        return WatchedSession(self._lm.session(), self._parts)

    def describe(self) -> dict[str, Any]:
        return self._lm.describe()


class WatchedSession(Session):
    """A session in the part `MODEL`."""

    def __init__(self, session: Session, parts: Parts) -> None:
        self._parts, self.merges = parts, session.merges
        # Not there in versions of before.
        self.outbox = getattr(session, "outbox", None)
        self.halves = getattr(session, "halves", None)
        self._open, self._step, self._retain, self._close = (
            parts.inside(MODEL, method)
            for method in (session.open, session.step, session.retain, session.close)
        )
        self._rows = session.rows

    def open(self) -> int:
        return self._open()

    def step(self, states: States, tokens: States) -> States:
        return self._step(states, tokens)

    def rows(self, states: States) -> Iterator[tuple[slice, torch.Tensor]]:
        self._parts.calls += bool(len(states))
        self._parts.asked += len(states)
        blocks = iter(self._rows(states))
        following = self._parts.inside(MODEL, lambda: next(blocks, None))
        while (found := following()) is not None:
            yield found

    def retain(self, root: int, live: States) -> None:
        self._retain(root, live)

    def close(self, root: int) -> None:
        self._close(root)


# What a device would have to do.

NO_KERNELS = frozenset({"empty", "empty_strided", "_unsafe_view", "_local_scalar_dense"})
"""Operators that compute nothing, beside views."""
CROSSINGS = {
    torch.Tensor.cpu: "cpu",
    torch.Tensor.numpy: "numpy",
    torch.Tensor.__array__: "numpy",
    torch.Tensor.to: "to",
    torch.Tensor.cuda: "to",
    torch.Tensor.tolist: "tolist",
    torch.Tensor.item: "item",
    torch.Tensor.__bool__: "bool",
    torch.Tensor.__int__: "item",
    torch.Tensor.__float__: "item",
    torch.Tensor.__index__: "item",
    torch.tensor: "tensor",
    torch.as_tensor: "tensor",
}
"""What carries something between host and device, or has one wait for the other, if a model is on a
device of its own. `to` counts where it names a device, but not where the transformers library
calls it, whose tensors are all on the model's device; `numpy` where `cpu` hasn't just done it.
"shape" is another: an operator whose output's size depends on numbers, which the host waits for."""


class Counting(AbstractContextManager["Counting"]):
    """Counts kernels and crossings by part. parts: says which part a run is in.

    On a CPU these are what they would be elsewhere, and cost next to nothing.
    """

    def __init__(self, parts: Parts) -> None:
        self.kernels: Counter[str] = Counter()
        self.crossings: Counter[tuple[str, str]] = Counter()
        counting = self
        on_host: set[int] = set()

        class Kernels(TorchDispatchMode):
            def __torch_dispatch__(
                self, func: Any, types: Any, args: Any = (), kwargs: Any = None
            ) -> Any:
                name = func.overloadpacket.__name__
                if not func.is_view and name not in NO_KERNELS:
                    counting.kernels[parts.now] += 1
                if torch.Tag.dynamic_output_shape in func.tags and _shapes(name, args):
                    counting.crossings[parts.now, "shape"] += 1
                return func(*args, **(kwargs or {}))

        class Crossings(TorchFunctionMode):
            def __torch_function__(
                self, func: Any, types: Any, args: Any = (), kwargs: Any = None
            ) -> Any:
                kwargs = kwargs or {}
                name = CROSSINGS.get(func)
                if name == "numpy" and id(args[0]) in on_host:
                    name = None
                if name == "to" and not (_names_device(args[1:], kwargs) and _called_by_us()):
                    name = None
                if name == "tensor" and "device" not in kwargs:
                    name = None
                if name is not None:
                    counting.crossings[parts.now, name] += 1
                found = func(*args, **kwargs)
                on_host.clear()
                if name == "cpu":
                    on_host.add(id(found))
                return found

        self._modes = (Kernels(), Crossings())

    def __enter__(self) -> Counting:
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)

    def crossed(self, part: str) -> int:
        """All crossings of a part."""
        return sum(number for (where, _), number in self.crossings.items() if where == part)


def _shapes(name: str, args: Sequence[Any]) -> bool:
    """Whether an operator whose output's size may depend on numbers has one that does."""
    if name != "index":
        return True
    return any(one is not None and one.dtype in (torch.bool, torch.uint8) for one in args[1])


def _called_by_us() -> bool:
    """Whether what is called isn't called by the transformers library."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and "/torch/" in frame.f_code.co_filename:
        frame = frame.f_back
    return frame is None or "/transformers/" not in frame.f_code.co_filename


def _names_device(args: Sequence[Any], options: dict[str, Any]) -> bool:
    """Whether these arguments of `Tensor.to` say where to."""
    given = (*args, options.get("device"), options.get("other"))
    return any(isinstance(one, str | int | torch.device | torch.Tensor) for one in given) and not (
        len(args) == 1 and isinstance(args[0], bool)
    )
