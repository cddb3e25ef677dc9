"""Sequential machines written out by hand: `Identity` (bytes) and `Utf8` (code points)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lmfst.fst.core import identity_bytes
from lmfst.fst.sequential import Step
from lmfst.fst.symbols import END, Output, Symbols

CODE_POINTS = 0x110000
"""`Utf8` writes a byte b that is no UTF-8 as the symbol CODE_POINTS + b."""


class Identity:
    """The identity on byte strings: one state, symbols 0..255."""

    start = 0
    digest = "identity-bytes-1"

    def __init__(self) -> None:
        self.symbols: Symbols = identity_bytes().symbols
        self._steps = [(0, (byte,)) for byte in range(256)]

    def step(self, state: int, byte: int) -> Step | None:
        return self._steps[byte]

    def final(self, state: int) -> Output | None:
        return ()

    def viable(self, state: int, symbol: int) -> bool:
        return True

    def pairs(self, state: int) -> list[tuple[int, Output]]:
        """What a state is, as of `Determinised`."""
        return [(0, ())]

    def resume(self, pairs: Iterable[tuple[int, Output]]) -> int:
        """The state that is these pairs."""
        return 0

    def source(self, target: Sequence[int]) -> bytes:
        """The only byte string with this output."""
        return bytes(symbol for symbol in target if symbol != END)


class Utf8:
    """UTF-8 decoding as a total function to code points; CODE_POINTS + b for a byte b that is none.

    The result is that of Python's `bytes.decode("utf-8", "surrogateescape")`. A state is the
    beginning of a character whose end hasn't been read yet (at most three bytes).
    """

    start = 0
    digest = "utf8-code-points-1"

    def __init__(self) -> None:
        names = {CODE_POINTS + byte: f"\\x{byte:02x}" for byte in range(256)}
        self.symbols = Symbols(kind="unicode", names=names)
        self._pending: list[bytes] = [b""]
        self._ids: dict[bytes, int] = {b"": 0}
        self._steps: dict[tuple[int, int], Step] = {}

    def step(self, state: int, byte: int) -> Step | None:
        known = self._steps.get((state, byte))
        if known is None:
            known = self._steps[state, byte] = self._read(self._pending[state] + bytes([byte]))
        return known

    def _read(self, data: bytes) -> Step:
        rest = _incomplete_tail(data)
        out = _decoded(data[: len(data) - len(rest)])
        return self._intern(rest), out

    def _intern(self, pending: bytes) -> int:
        if pending not in self._ids:
            self._ids[pending] = len(self._pending)
            self._pending.append(pending)
        return self._ids[pending]

    def pending(self, state: int) -> bytes:
        """The bytes of a character that have been read."""
        return self._pending[state]

    def pairs(self, state: int) -> list[tuple[int, Output]]:
        """What a state is, as of `Determinised`: its bytes are the pending output."""
        return [(0, tuple(self._pending[state]))]

    def resume(self, pairs: Iterable[tuple[int, Output]]) -> int:
        """The state that is these pairs, as `pairs` gave them."""
        ((_, pending),) = pairs
        return self._intern(bytes(pending))

    def final(self, state: int) -> Output | None:
        return _decoded(self._pending[state])

    def viable(self, state: int, symbol: int) -> bool:
        pending = self._pending[state]
        if not pending:
            return True
        if symbol == END or 0xD800 <= symbol < 0xE000:
            return False
        if symbol >= CODE_POINTS:
            return symbol == CODE_POINTS + pending[0]
        return chr(symbol).encode().startswith(pending)

    def source(self, target: Sequence[int]) -> bytes:
        """The only byte string with this output, if there is one."""
        return b"".join(
            bytes([symbol - CODE_POINTS])
            if symbol >= CODE_POINTS
            else chr(symbol).encode("utf-8", "surrogatepass")
            for symbol in target
            if symbol != END
        )


def _incomplete_tail(data: bytes) -> bytes:
    """The longest suffix of `data` that is the beginning of a UTF-8 character, not all of it."""
    for at in range(len(data)):
        try:
            data[at:].decode("utf-8")
        except UnicodeDecodeError as error:
            if error.start == 0 and error.reason == "unexpected end of data":
                return data[at:]
    return b""


def _decoded(data: bytes) -> Output:
    text = data.decode("utf-8", "surrogateescape")
    return tuple(
        CODE_POINTS + ord(char) - 0xDC00 if 0xDC80 <= ord(char) <= 0xDCFF else ord(char)
        for char in text
    )
