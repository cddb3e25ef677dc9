"""Outputs of units made up without a model, and pages read back."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from lmfst.io import open_rows, row_format
from lmfst.scored.records import UNIT_COLUMNS

Row = dict[str, Any]


def document(
    id: str,
    units: Sequence[tuple[str, float]],
    end: float = 1.0,
    *,
    missing: Sequence[float] | None = (),
    sizes: Sequence[int] = (),
    place: tuple[str, int] | None = None,
) -> list[Row]:
    """The rows of a document. units: texts, and surprisals in bits. end: bits of ⊥. missing: nats,
    0 for the rest of the rows; None: there are no such numbers. sizes: symbols of units, else 1."""
    texts, bits = [*(text for text, _ in units), "⊥"], [*(value for _, value in units), end]
    lengths = [*sizes, *[1] * (len(units) - len(sizes)), 0]
    ends = [sum(lengths[: at + 1]) for at in range(len(lengths))]
    lacks = [None] * len(texts) if missing is None else [*missing, *[0.0] * len(texts)]
    beside = {} if place is None else {"file": place[0], "line": place[1]}
    return [
        {
            "id": id,
            "index": at,
            "unit": texts[at],
            "start": ends[at] - lengths[at],
            "end": ends[at],
            "logp": -bits[at] * math.log(2.0),
            "surprisal": bits[at],
            "missing": lacks[at],
            **beside,
        }
        for at in range(len(texts))
    ]


def write(path: Path, rows: Iterable[Row], columns: Sequence[str] = ()) -> Path:
    """Write rows as lmfst does, in the format that the suffix says."""
    rows = list(rows)
    names = columns or [*UNIT_COLUMNS, *(("file", "line") if rows and "file" in rows[0] else ())]
    with open_rows(str(path), row_format(str(path)), names, escaped=("unit",)) as writer:
        for row in rows:
            writer.write(row)
    return path


def write_manifest(path: Path, rejected: int = 0, **fingerprint: object) -> Path:
    """A manifest beside an output."""
    facts = {
        "format": 1,
        "fingerprint": {"model": "m", "to": "bytes", "lmfst": "0", **fingerprint},
        "machine": {"device": "cpu"},
        "inputs": [{"path": "corpus.txt"}],
        "done": {"size": path.stat().st_size, "rejected": rejected},
    }
    place = Path(f"{path}.manifest.json")
    place.write_text(json.dumps(facts))
    return place


@dataclass
class Page(HTMLParser):
    """A page as a reader sees it. tables: by caption, rows of cells. items: of lists. tags: the
    names of all elements. attributes: (element, name, value) of all. data: what its script reads.
    """

    text: str
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    items: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    scopes: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self._caption = self._cell = ""
        self._rows: list[list[str]] = []
        self.feed(self.text)
        assert not self._open, self._open

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.scripts[0])
        return found

    @property
    def short(self) -> str:
        """The sentences at the top, one a line."""
        return "\n".join(self.items)

    def table(self, begin: str) -> dict[str, list[str]]:
        """The rows of the table whose caption begins so, by their first cell."""
        (found,) = (rows for caption, rows in self.tables.items() if caption.startswith(begin))
        return {row[0]: row[1:] for row in found}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag in ("meta", "br"):
            return
        self._open.append(tag)
        if tag == "table":
            self._rows = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("th", "td", "caption", "li", "script"):
            self._cell = ""
            if tag == "th":
                self.scopes.append(dict(attrs).get("scope"))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self._cell += data

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, tag
        if tag in ("th", "td"):
            self._rows[-1].append(self._cell)
        elif tag == "caption":
            self._caption = self._cell
        elif tag == "table":
            self.tables[self._caption] = self._rows
        elif tag == "li":
            self.items.append(self._cell)
        elif tag == "script":
            self.scripts.append(self._cell)
