"""What identifies a model's files, so that what was tried out of them needn't be tried again.

A digest over all weights would be a second pass over them. Instead the digest is over the stamp of
every file (`lmfst.ground.stamps`: place, size, inode, times of change), all of `config.json` (of a
GGUF file: its beginning), and a sample of the weights: `BLOCKS` blocks spread evenly over each
file. So whatever writes to a file, or puts another in its place, is noticed. What isn't: a disk
that alters bytes outside the sample by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from lmfst.ground.stamps import stamp
from lmfst.lm.files import CONFIG, ModelFiles

BLOCKS, BLOCK_BYTES = 16, 4096
"""The sample of each file of weights: its beginning, its end, and what lies evenly between them."""
EVERY = 1 << 22
"""Bytes from one block of `content_digest` to the next."""


def identity(files: ModelFiles) -> str | None:
    """The digest (hex) of a model's files as they are; None where they were changed just now, or
    can't be found by themselves."""
    weights, others = weights_and_configs(files)
    if not weights:
        return None
    try:
        stamped = stamp([*weights, *others])
        if stamped is None:
            return None
        content = hashlib.sha256(stamped.encode())
        for path in others:
            if path.name == CONFIG:
                content.update(path.read_bytes())
        for path in weights:
            for block in _sample(path):
                content.update(block)
    except OSError:
        return None
    return content.hexdigest()


def weights_and_configs(files: ModelFiles) -> tuple[list[Path], list[Path]]:
    """(files of weights, others that say how the model computes)."""
    if files.gguf:
        # Not the link to it, which has another place each time.
        return [Path(files.name)], []
    config = files.path(CONFIG)
    if config is None:
        return [], []
    # Of a model from a hub: the folder of one commit in the hub's cache.
    folder = config.parent
    return sorted(folder.glob("*.safetensors")), sorted(folder.glob("*.json"))


def content_digest(path: Path) -> str:
    """A digest (hex) of a large file of weights, the same wherever a copy of it is: of its size,
    and of a block each `EVERY` bytes, so that a tensor as large as that isn't another one unseen.
    """
    content = hashlib.sha256()
    with path.open("rb") as file:
        size = file.seek(0, 2)
        content.update(str(size).encode())
        for at in (*range(0, size, EVERY), max(0, size - BLOCK_BYTES)):
            file.seek(at)
            content.update(file.read(BLOCK_BYTES))
    return content.hexdigest()


def _sample(path: Path) -> Iterable[bytes]:
    with path.open("rb") as file:
        last = max(0, file.seek(0, 2) - BLOCK_BYTES)
        for i in range(BLOCKS):
            file.seek(i * last // (BLOCKS - 1))
            yield file.read(BLOCK_BYTES)
