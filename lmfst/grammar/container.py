"""The file format of a compiled grammar: a JSON header, then the FSTs in OpenFst's binary format.

    magic line, 8 bytes header length (big-endian), header, FST bytes one after the other

The header has the SHA-256 of the FST bytes, so that a damaged file is noticed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_MAGIC = b"lmfst grammar 1\n"


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
        "sha256": hashlib.sha256(body).hexdigest(),
        "extra": dict(extra),
    }
    text = json.dumps(header).encode()
    return _MAGIC + len(text).to_bytes(8, "big") + text + body


def unpack(data: bytes) -> tuple[list[Entry], dict[str, Any]] | None:
    """The rules and the extra data of a packed file; None if the file is damaged."""
    start = len(_MAGIC) + 8
    if not data.startswith(_MAGIC) or len(data) < start:
        return None
    end = start + int.from_bytes(data[len(_MAGIC) : start], "big")
    try:
        header = json.loads(data[start:end])
        if hashlib.sha256(data[end:]).hexdigest() != header["sha256"]:
            return None
        entries = []
        for rule in header["rules"]:
            labels = {int(label): str(name) for label, name in rule["labels"].items()}
            entries.append(Entry(rule["name"], data[end : end + rule["size"]], labels))
            end += rule["size"]
        return entries, header["extra"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
