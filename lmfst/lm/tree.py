"""Evaluating any set of nodes of token trees in one call of a transformers model.

Every document of a session is a tree of tokens below its BOS. A call of the model takes the new
nodes of any set of documents, packed into one sequence [1, T]; a node's position is its depth, and
its attention is restricted to its ancestors. The keys and values of all evaluated nodes are kept
once, in a pool of slots shared by the documents (`KeyValueStore`). Linear layers thus see no
padding; only the attention itself is padded to [documents, heads, nodes, slots].

Contexts longer than the model's are cut by a rule that depends on depth alone. With context length
L and stride H = L // 2, a node of depth d ≥ L is read in window w = ceil((d - L + 1) / H): BOS,
then the tokens of depth w·H + 1 … d, so between L/2 and L of the last tokens. A node can therefore
be evaluated in two windows; an evaluated (node, window) pair is called an entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lmfst.lm.base import Session, States

if TYPE_CHECKING:
    import torch

    from lmfst.lm.transformers import TransformersLM

ATTENTION = "lmfst_tree"


class KeyValueStore:
    """Keys and values of a session's entries: per layer [key-value heads, slots, head size]."""

    def __init__(self) -> None:
        self._keys: dict[int, torch.Tensor] = {}
        self._values: dict[int, torch.Tensor] = {}
        self.capacity = 0
        self.windows: set[int | None] = set()
        """The sliding windows that the model's layers asked for (None: the whole past)."""
        self._free: list[int] = []
        self._used = 0

    def allocate(self, count: int) -> list[int]:
        """Slots for `count` new entries, the lowest free ones first."""
        taken = [self._free.pop() for _ in range(min(count, len(self._free)))]
        fresh = count - len(taken)
        taken += range(self._used, self._used + fresh)
        self._used += fresh
        while self.capacity < self._used:
            self.capacity = max(256, self.capacity * 3 // 2)
        return taken

    def free(self, slots: Sequence[int]) -> None:
        """Give slots back."""
        self._free = sorted({*self._free, *slots}, reverse=True)
        while self._free and self._free[0] == self._used - 1:
            self._free.pop(0)
            self._used -= 1

    def write(
        self, layer: int, slots: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> None:
        """Store key and value, [heads, entries, head size], of new entries of a layer."""
        for store, new in ((self._keys, key), (self._values, value)):
            held = store.get(layer)
            if held is None or held.shape[1] < self.capacity:
                grown = new.new_zeros((new.shape[0], self.capacity, new.shape[2]))
                if held is not None:
                    grown[:, : held.shape[1]] = held
                store[layer] = held = grown
            held.index_copy_(1, slots, new)

    def read(
        self, layer: int, slots: torch.Tensor, *, in_order: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values [documents, heads, n, head size] of slots [documents, n].

        in_order: there is one document and its slots are 0 .. n - 1, so that no copy is needed.
        """
        documents, count = slots.shape
        result = []
        for store in (self._keys, self._values):
            held = store[layer]
            if in_order:
                result.append(held[None, :, :count])
                continue
            picked = held.index_select(1, slots.reshape(-1))
            picked = picked.view(held.shape[0], documents, count, held.shape[2])
            result.append(picked.transpose(0, 1))
        return result[0], result[1]


@dataclass(frozen=True)
class Call:
    """One model call: T new entries of D documents, packed document by document.

    slots: int64 [T], where the new entries go. place: int64 [T], their place in the padded
    [D * width] queries. width: new entries of the document that has most.
    context: int64 [D, n] slots that the documents attend to. mask: float [D, 1, width, n], 0 where
    an entry may look and -inf elsewhere. positions: int64 [D, width] of the queries and [D, n] of
    the keys.
    """

    store: KeyValueStore
    slots: torch.Tensor
    place: torch.Tensor
    width: int
    context: torch.Tensor
    mask: torch.Tensor
    positions: tuple[torch.Tensor, torch.Tensor]
    in_order: bool
    _masks: dict[tuple[int | None, int], torch.Tensor] = field(default_factory=dict)

    def mask_for(self, window: int | None, repeats: int) -> torch.Tensor:
        """The mask of a layer that looks back `window` positions (None: all), for queries of
        `repeats` heads below each other; made once for all layers that are alike."""
        if (window, repeats) not in self._masks:
            mask = self.mask
            if window is not None:
                query, key = self.positions
                far = query[:, None, :, None] - key[:, None, None, :] >= window
                mask = mask.masked_fill(far, float("-inf"))
            self._masks[window, repeats] = mask.repeat(1, 1, repeats, 1) if repeats > 1 else mask
        return self._masks[window, repeats]


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    lmfst_call: Call | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """An attention function for transformers' interface.

    Takes [1, heads, T, head size] of packed entries, returns [1, T, heads, head size].

    Raises NotImplementedError for variants it doesn't know; the backend then falls back to whole
    contexts.
    """
    if lmfst_call is None:
        raise NotImplementedError("the model doesn't hand its keyword arguments to the attention")
    unknown = [k for k in ("s_aux", "position_bias") if options.get(k) is not None]
    if unknown:
        raise NotImplementedError(f"attention with {', '.join(unknown)}")
    call = lmfst_call
    call.store.write(module.layer_idx, call.slots, key[0], value[0])
    keys, values = call.store.read(module.layer_idx, call.context, in_order=call.in_order)
    window = options.get("sliding_window")
    call.store.windows.add(window)
    packed = _padded(query[0], call)
    mask = call.mask_for(window, packed.shape[1] // keys.shape[1])
    mixed = _attention(packed, keys, values, mask, scaling, options.get("softcap"))
    flat = mixed.transpose(1, 2).reshape(-1, mixed.shape[1], mixed.shape[3])
    return flat.index_select(0, call.place)[None], None


def _padded(query: torch.Tensor, call: Call) -> torch.Tensor:
    """Queries [heads, T, size] as [documents, heads, width, size], zero where there is no entry."""
    heads, count, size = query.shape
    documents = call.context.shape[0]
    if count == documents * call.width:
        return query.view(heads, documents, call.width, size).transpose(0, 1)
    padded = query.new_zeros((heads, documents * call.width, size))
    padded.index_copy_(1, call.place, query)
    return padded.view(heads, documents, call.width, size).transpose(0, 1)


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    scaling: float | None,
    softcap: float | None,
) -> torch.Tensor:
    """Masked attention; query heads that share a key-value head are folded into its queries, and
    the mask is for these."""
    import torch

    documents, heads, width, size = query.shape
    shared = heads // key.shape[1]
    folded = query.reshape(documents, key.shape[1], shared * width, size)
    if softcap is None:
        mixed = torch.nn.functional.scaled_dot_product_attention(
            folded, key, value, attn_mask=mask, scale=scaling
        )
    else:
        scores = folded @ key.transpose(2, 3) * (size**-0.5 if scaling is None else scaling)
        scores = torch.tanh(scores / softcap) * softcap + mask
        mixed = torch.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype) @ value
    return mixed.reshape(documents, heads, width, value.shape[3])


class _Document:
    """The entries of one document: their slots, positions and ancestors, by local number."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[int, int], int] = {}
        self.slots = np.zeros(0, dtype=np.int64)
        self.positions = np.zeros(0, dtype=np.int64)
        self.ancestors = np.zeros((0, 0), dtype=bool)

    def __len__(self) -> int:
        return len(self.numbers)

    def add(self, key: tuple[int, int], parent: int | None, slot: int, position: int) -> int:
        """A new entry below the entry `parent`. Returns its number."""
        number = len(self.numbers)
        if number == len(self.slots):
            self._grow(max(64, number * 2))
        self.numbers[key] = number
        self.slots[number] = slot
        self.positions[number] = position
        self.ancestors[number] = False if parent is None else self.ancestors[parent]
        self.ancestors[number, number] = True
        return number

    def _grow(self, size: int) -> None:
        more = size - len(self.slots)
        self.slots = np.pad(self.slots, (0, more))
        self.positions = np.pad(self.positions, (0, more))
        self.ancestors = np.pad(self.ancestors, ((0, more), (0, more)))

    def take_back(self, count: int) -> list[int]:
        """Drop the last `count` entries. Returns their slots."""
        first = len(self) - count
        self.numbers = {key: n for key, n in self.numbers.items() if n < first}
        return self.slots[first : first + count].tolist()

    def keep(self, numbers: np.ndarray) -> list[int]:
        """Drop all entries but `numbers` (ascending). Returns the slots given up."""
        gone = np.ones(len(self), dtype=bool)
        gone[numbers] = False
        freed = self.slots[: len(self)][gone].tolist()
        renumber = {int(old): new for new, old in enumerate(numbers)}
        self.numbers = {k: renumber[n] for k, n in self.numbers.items() if n in renumber}
        self.slots = self.slots[numbers]
        self.positions = self.positions[numbers]
        self.ancestors = self.ancestors[np.ix_(numbers, numbers)]
        return freed


class TreeSession(Session):
    """Token trees of a batch of documents over one transformers model. States are tree nodes.

    compact_above: entries that a document may have before dead ones are dropped.
    """

    compact_above = 1024

    def __init__(self, lm: TransformersLM) -> None:
        self._lm = lm
        self._store = KeyValueStore()
        self._parent: list[int] = []
        self._token: list[int] = []
        self._depth: list[int] = []
        self._root: list[int] = []
        self._ids: dict[tuple[int, int], int] = {}
        self._documents: dict[int, _Document] = {}
        self._long: set[int] = set()

    def _node(self, parent: int, token: int, depth: int, root: int) -> int:
        node = len(self._parent)
        self._parent.append(parent)
        self._token.append(token)
        self._depth.append(depth)
        self._root.append(node if root < 0 else root)
        return node

    def open(self) -> int:
        root = self._node(-1, -1 if self._lm.bos is None else self._lm.bos, 0, -1)
        self._documents[root] = _Document()
        return root

    def step(self, states: States, tokens: States) -> States:
        moved = []
        for pair in zip(states.tolist(), tokens.tolist(), strict=True):
            node = self._ids.get(pair)
            if node is None:
                state, token = pair
                node = self._node(state, token, self._depth[state] + 1, self._root[state])
                self._ids[pair] = node
            moved.append(node)
        return np.array(moved, dtype=np.int64)

    def rows(self, states: States) -> Iterator[tuple[slice, torch.Tensor]]:
        begin, nodes = 0, states.tolist()
        while begin < len(nodes):
            if self._token[nodes[begin]] < 0:
                yield slice(begin, begin + 1), self._lm.uniform_row()
                begin += 1
                continue
            end, entries = self._next_call(nodes, begin)
            asked = [self._entry(node) for node in nodes[begin:end]]
            found = self._evaluate(entries, asked)
            if found is None:
                continue
            for rows in self._lm.logits(found):
                yield slice(begin, begin + len(rows)), rows
                begin += len(rows)

    def _entry(self, node: int) -> tuple[int, int]:
        window = self._lm.window(self._depth[node])
        root = self._root[node]
        if window and root not in self._long:
            self._long.add(root)
            self._lm.warn_of_length()
        return node, window

    def _next_call(self, nodes: list[int], begin: int) -> tuple[int, dict[tuple[int, int], None]]:
        """The entries of one call: as many of nodes[begin:] as the budget allows, at least one."""
        entries: dict[tuple[int, int], None] = {}
        end = begin
        while end < len(nodes) and self._token[nodes[end]] >= 0:
            missing = self._missing(self._entry(nodes[end]), entries)
            if end > begin and len(entries) + len(missing) > self._lm.batch_tokens:
                break
            entries.update(dict.fromkeys(missing))
            end += 1
        return end, entries

    def _missing(
        self, entry: tuple[int, int], planned: dict[tuple[int, int], None]
    ) -> list[tuple[int, int]]:
        """`entry` and those ancestors of it that have never been evaluated, oldest first."""
        numbers = self._documents[self._root[entry[0]]].numbers
        found = [entry] if entry not in planned else []
        above = self._above(entry)
        while above is not None and above not in numbers and above not in planned:
            found.append(above)
            above = self._above(above)
        return found[::-1]

    def _above(self, entry: tuple[int, int]) -> tuple[int, int] | None:
        """What `entry` follows: its parent in the same window, BOS at the window's start."""
        node, window = entry
        parent = self._parent[node]
        if parent < 0:
            return None
        root = self._root[node]
        if parent != root and self._depth[parent] > window * self._lm.stride:
            return parent, window
        return (root, 0) if self._token[root] >= 0 else None

    def _evaluate(
        self, entries: dict[tuple[int, int], None], asked: list[tuple[int, int]]
    ) -> torch.Tensor | None:
        """Run the model over entries; what it has for the asked ones, see `forward`, in order.

        None if that didn't fit into memory: then nothing has changed but the size of a call.
        """
        by_document: dict[int, list[tuple[int, int]]] = {}
        for entry in entries:
            by_document.setdefault(self._root[entry[0]], []).append(entry)
        before = {root: len(self._documents[root]) for root in by_document}
        numbers = {root: self._place(root, group) for root, group in by_document.items()}
        packed = [entry for group in by_document.values() for entry in group]
        place = {entry: i for i, entry in enumerate(packed)}
        positions = [
            int(self._documents[root].positions[n]) for root, ns in numbers.items() for n in ns
        ]
        try:
            return self._lm.forward(
                tokens=[self._token[node] for node, _ in packed],
                positions=positions,
                call=self._call(numbers),
                asked=[place[entry] for entry in asked],
            )
        except (RuntimeError, MemoryError) as error:
            self._lm.shrink(len(packed), error)
            for root, count in before.items():
                document = self._documents[root]
                self._store.free(document.take_back(len(document) - count))
            return None

    def _place(self, root: int, entries: list[tuple[int, int]]) -> list[int]:
        """Local numbers of entries, new ones for those that have none."""
        document = self._documents[root]
        slots = iter(self._store.allocate(sum(e not in document.numbers for e in entries)))
        numbers = []
        for entry in entries:
            if entry not in document.numbers:
                above = self._above(entry)
                document.add(
                    entry,
                    None if above is None else document.numbers[above],
                    next(slots),
                    self._lm.position(self._depth[entry[0]], entry[1]),
                )
            numbers.append(document.numbers[entry])
        return numbers

    def _call(self, numbers: dict[int, list[int]]) -> Call:
        documents = [self._documents[root] for root in numbers]
        width = max(map(len, numbers.values()))
        looked_at = [
            np.flatnonzero(document.ancestors[new].any(axis=0))
            for document, new in zip(documents, numbers.values(), strict=True)
        ]
        length = max(map(len, looked_at))
        context = np.zeros((len(documents), length), dtype=np.int64)
        seen = np.zeros((len(documents), width, length), dtype=bool)
        at = np.zeros((len(documents), width), dtype=np.int64)
        key_at = np.zeros((len(documents), length), dtype=np.int64)
        slots, place = [], []
        for d, (document, new) in enumerate(zip(documents, numbers.values(), strict=True)):
            keys = looked_at[d]
            context[d, : len(keys)] = document.slots[keys]
            seen[d, : len(new), : len(keys)] = document.ancestors[np.array(new)[:, None], keys]
            # Queries that stand for no entry look at one slot, so that their softmax is finite.
            seen[d, len(new) :, 0] = True
            at[d, : len(new)] = document.positions[new]
            key_at[d, : len(keys)] = document.positions[keys]
            slots.append(document.slots[new])
            place.append(d * width + np.arange(len(new)))
        return self._lm.make_call(
            self._store, np.concatenate(slots), np.concatenate(place), context, seen, (at, key_at)
        )

    def retain(self, root: int, live: States) -> None:
        document = self._documents[root]
        if len(document) <= self.compact_above:
            return
        keep: set[int] = set()
        for node in live.tolist():
            entry: tuple[int, int] | None = self._entry(node)
            # A state may be asked for in this window or, by its descendants, in the next one.
            while entry is not None and document.numbers.get(entry) not in keep:
                if entry in document.numbers:
                    keep.add(document.numbers[entry])
                entry = self._above(entry)
        if len(keep) < len(document):
            self._store.free(document.keep(np.array(sorted(keep), dtype=np.int64)))

    def close(self, root: int) -> None:
        document = self._documents.pop(root)
        self._store.free(document.slots[: len(document)].tolist())
