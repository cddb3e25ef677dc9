"""Files that commands write beside rows: whole or not at all."""

from __future__ import annotations

from lmfst.ground.atomic import atomic_write, write_hint
from lmfst.ground.errors import InputError


def write_file(path: str, data: bytes, *, what: str = "") -> None:
    """Write a file. what: the option that names it, for the message. InputError if it can't be."""
    try:
        atomic_write(path, data)
    except OSError as error:
        raise InputError(
            f"{path}: {what and what + ' '}can't be written: {error.strerror or error}",
            hint=write_hint(error),
        ) from None
