"""The file format of a compiled grammar: a JSON header, then the FSTs in OpenFst's binary format.

    SHA-256 of the rest, magic line, 8 bytes header length (big-endian), header, FST bytes one after
    the other

The checksum covers all of it, names of rules and symbols included, so that a damaged file is
noticed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmfst.ground.cache import sealed, unsealed

_MAGIC = b"lmfst grammar 3\n"


@dataclass(frozen=True)
class Entry:
    """One exported rule: OpenFst bytes, and the names of the generated symbols it uses."""

    name: str
    data: bytes
    labels: Mapping[int, str]


def pack(entries: Sequence[Entry], extra: Mapping[str, Any]) -> bytes:
    """The file's bytes. `extra` is JSON data for the header."""
    body = b"".join(entry.data for entry in entries)
    header = {
        "rules": [
            {
                "name": entry.name,
                "size": len(entry.data),
                "labels": {str(label): name for label, name in entry.labels.items()},
            }
            for entry in entries
        ],
        "extra": dict(extra),
    }
    text = json.dumps(header).encode()
    return sealed(_MAGIC + len(text).to_bytes(8, "big") + text + body)


def unpack(data: bytes) -> tuple[list[Entry], dict[str, Any]] | None:
    """The rules and the extra data of a packed file; None if the file is damaged."""
    content = unsealed(data)
    if content is None or not content.startswith(_MAGIC):
        return None
    start = len(_MAGIC) + 8
    end = start + int.from_bytes(content[len(_MAGIC) : start], "big")
    header = json.loads(content[start:end])
    entries = []
    for rule in header["rules"]:
        labels = {int(label): str(name) for label, name in rule["labels"].items()}
        entries.append(Entry(rule["name"], content[end : end + rule["size"]], labels))
        end += rule["size"]
    return entries, header["extra"]
