"""What made an output: the manifest that `lmfst score` writes beside it, for people to read.

It is shown, and decides on nothing but what the units are. `lmfst convert` writes none.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

from lmfst.ground.manifests import manifest_of
from lmfst.ground.types import Warn

_HIDDEN = {"model files", "columns", "format", "level", "batch"}
"""What a reader of the page doesn't need: digests, and what the page shows itself."""
_KINDS = {
    "bytes": "bytes of the text, in UTF-8",
    "chars": "characters of the text (Unicode code points)",
    "words": "words as the Penn Treebank splits them",
    "wswords": "words between white space",
    "words-leading": "words, each with the white space before it",
    "words-trailing": "words, each with the white space after it",
    "amino": "amino acids (* is a stop codon)",
}


@dataclass(frozen=True)
class Made:
    """What is known of how an output was made. facts: by name, in words; without what wasn't set.
    rejected: records without rows. known: whether there is a manifest at all."""

    to: str = ""
    model: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    rejected: int = 0
    known: bool = False

    @property
    def kind(self) -> str:
        """What the units are; "" if nothing says it."""
        if not self.to:
            return ""
        name, _, option = self.to.partition(":")
        said = _KINDS.get(name, f"units of the target {self.to}")
        return f"{said} (--to {self.to})" if option and name in _KINDS else said


def made(path: str, warn: Warn) -> Made:
    """What made the output `path`. warn: is told of a manifest that isn't that of this output, or
    can't be read; nothing is known then."""
    place = manifest_of(path)
    try:
        facts = json.loads(place.read_text(encoding="utf-8", errors="surrogatepass"))
        fingerprint, done = {**facts.get("named", {}), **facts["fingerprint"]}, facts["done"]
        size, rejected = int(done["size"]), int(done["rejected"])
        to, model = str(fingerprint["to"]), str(fingerprint["model"])
    except FileNotFoundError:
        return Made()
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        warn(f"{place}: can't be read as the manifest of {path}, and is left out: {error!r}")
        return Made()
    if size != os.path.getsize(path):
        warn(
            f"{place}: is the manifest of another output than {path} ({size:,} bytes), and is left "
            "out"
        )
        return Made()
    return Made(to, model, _shown(fingerprint, facts), rejected, True)


def _shown(fingerprint: dict[str, Any], facts: dict[str, Any]) -> dict[str, str]:
    shown = {
        name: _text(value)
        for name, value in fingerprint.items()
        if name not in _HIDDEN and value is not None and value is not False
    }
    inputs = [str(found["path"]) for found in facts.get("inputs", ()) if "path" in found]
    if inputs:
        more = f" and {len(inputs) - 5:,} more" if len(inputs) > 5 else ""
        shown["inputs"] = ", ".join(inputs[:5]) + more
    machine = facts.get("machine")
    if isinstance(machine, dict):
        shown |= {name: _text(value) for name, value in machine.items()}
    return shown


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return "yes" if value is True else json.dumps(value, ensure_ascii=False)
