"""Token trees: nodes numbered as they are met, one tree a document, below its BOS."""

from __future__ import annotations

from lmfst.lm.entries import Entry
from lmfst.lm.window import Windows


class TokenTrees:
    """The nodes of any number of documents.

    token: of each node, -1 at the root of a document without BOS. depth: 0 at roots. root: the root
    of each node's document.
    """

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._parent: list[int] = []
        self.token: list[int] = []
        self.depth: list[int] = []
        self.root: list[int] = []
        self._ids: dict[tuple[int, int], int] = {}

    def plant(self, bos: int | None) -> int:
        """A new document. Returns its root."""
        return self._node(-1, -1 if bos is None else bos, 0, -1)

    def child(self, parent: int, token: int) -> int:
        """The node of a token after a node; a new one the first time."""
        node = self._ids.get((parent, token))
        if node is None:
            node = self._node(parent, token, self.depth[parent] + 1, self.root[parent])
            self._ids[parent, token] = node
        return node

    def entry(self, node: int) -> Entry:
        """The node in the window in which its row is read."""
        return node, self._windows.window(self.depth[node])

    def above(self, entry: Entry) -> Entry | None:
        """What `entry` follows: its parent in the same window, BOS at the window's start."""
        node, window = entry
        parent = self._parent[node]
        if parent < 0:
            return None
        root = self.root[node]
        if parent != root and self.depth[parent] > self._windows.first(window):
            return parent, window
        return (root, 0) if self.token[root] >= 0 else None

    def position(self, entry: Entry) -> int:
        """Where an entry stands among the tokens of its window."""
        return self._windows.position(self.depth[entry[0]], entry[1])

    def depth_first(self, entries: list[Entry]) -> list[Entry]:
        """Entries of a document so that each follows what it stands below, as closely as it can;
        those that stand below none of them in order of depth."""
        new = set(entries)
        below: dict[Entry | None, list[Entry]] = {}
        for entry in entries:
            above = self.above(entry)
            below.setdefault(above if above in new else None, []).append(entry)
        order: list[Entry] = []
        waiting = sorted(below[None], key=lambda entry: self.depth[entry[0]])[::-1]
        while waiting:
            order.append(waiting.pop())
            waiting += below.get(order[-1], [])[::-1]
        return order

    def _node(self, parent: int, token: int, depth: int, root: int) -> int:
        node = len(self._parent)
        self._parent.append(parent)
        self.token.append(token)
        self.depth.append(depth)
        self.root.append(node if root < 0 else root)
        return node
