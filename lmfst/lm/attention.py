"""Attention over token trees: the store of keys and values, and what a call looks at.

The T new entries of a call (see `lmfst.lm.tree`) come in chunks of neighbours. Each chunk attends
to the ancestors of its entries, masked for each one; chunks of like size go into one product, with
padding, and the others into products of their own.

What a layer may see of the past (all of it, or a sliding window) it learns from the model as every
other attention function does: by the mask. `seen_by` stands in for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lmfst.ground.arrays import Bools, Ints

if TYPE_CHECKING:
    import torch

ATTENTION = "lmfst_tree"
CHUNK = 64
"""Entries of one document that are attended together, at most."""
GATHER_COST = 48
"""Pairs of a query and a key that take about as long as fetching one more key and value."""
SIBLINGS = 4
"""Entries that usually stand close together, below a branch of their own."""
CALL_COST = 4096
"""Pairs of a query and a key that take about as long as a further product (two CPU cores)."""

_TAKEN = {
    "sliding_window",
    "softcap",
    "is_causal",
    "position_ids",
    "use_cache",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
}
"""Keyword arguments of `attend` that it heeds or may ignore."""


class KeyValueStore:
    """Keys and values of a session's entries, beside each other: per layer a tensor
    [slots, key-value heads, size of a key + size of a value]."""

    def __init__(self) -> None:
        self._held: dict[int, torch.Tensor] = {}
        self._picked: torch.Tensor | None = None
        self.capacity = 0
        self.unmasked: set[int | None] = set()
        """What layers without a mask said of their sliding window (None: nothing)."""
        self._free: list[int] = []
        self._used = 0
        self._spare = 1.5

    def allocate(self, count: int) -> list[int]:
        """Slots for `count` new entries, the lowest free ones first."""
        taken = [self._free.pop() for _ in range(min(count, len(self._free)))]
        fresh = count - len(taken)
        taken += range(self._used, self._used + fresh)
        self._used += fresh
        if self.capacity < self._used:
            self.capacity = max(256, self._used, int(self.capacity * self._spare))
        return taken

    def grow_sparingly(self) -> None:
        """From now on grow by what is needed only: memory is short."""
        self._spare = 1.0
        self.capacity = min((len(held) for held in self._held.values()), default=0)
        self._picked = None

    def free(self, slots: Sequence[int]) -> None:
        """Give slots back."""
        self._free = sorted({*self._free, *slots}, reverse=True)
        while self._free and self._free[0] == self._used - 1:
            self._free.pop(0)
            self._used -= 1

    def write(
        self, layer: int, slots: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> None:
        """Store key and value, [heads, entries, size], of new entries of a layer."""
        import torch

        new = torch.cat([key, value], dim=-1).transpose(0, 1)
        held = self._held.get(layer)
        if held is None or len(held) < self.capacity:
            grown = new.new_zeros((self.capacity, *new.shape[1:]))
            if held is not None:
                grown[: len(held)] = held
            self._held[layer] = held = grown
        held.index_copy_(0, slots, new)

    def read(
        self, layer: int, slots: torch.Tensor, run: slice | None, size: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values [chunks, heads, n, size] of slots [chunks, n], for use before the next
        call of this.

        run: if there is one chunk and its slots follow each other, these; then nothing is copied.
        size: that of a key.
        """
        chunks, count = slots.shape
        held = self._held[layer]
        picked = held[run] if run is not None else self._pick(held, slots.view(-1))
        both = picked.view(chunks, count, *held.shape[1:]).transpose(1, 2)
        return both[..., :size], both[..., size:]

    def _pick(self, held: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        """held[slots], in memory that is used again: new memory takes as long as the copying."""
        import torch

        if self._picked is None or len(self._picked) < len(slots):
            self._picked = None
            self._picked = held.new_empty((len(slots), *held.shape[1:]))
        out = self._picked[: len(slots)]
        if out.shape[1:] != held.shape[1:]:
            return held.index_select(0, slots)
        return torch.index_select(held, 0, slots, out=out)


@dataclass(frozen=True)
class Chunk:
    """Some new entries of one document and what they look at.

    entries: int64 [w], their places in the call. slots: int64 [n], those of their ancestors. seen:
    bool [w, n], which of these are whose. query_at: int64 [w] and key_at: int64 [n], positions.
    """

    entries: Ints
    slots: Ints
    seen: Bools
    query_at: Ints
    key_at: Ints


@dataclass(frozen=True)
class Block:
    """Chunks that are attended to in one product, padded to w queries and n keys each.

    queries: int64 [chunks * w], which entry of the call each one is. answers: int64 [entries],
    which of the queries are no padding, and `entries` whose answers they are. context: int64
    [chunks, n] slots, and `run`, see `KeyValueStore.read`. mask: float [chunks, 1, w, n], 0 where a
    query may look and -inf elsewhere. positions: int64 [chunks, w] and [chunks, n].
    """

    queries: torch.Tensor
    answers: torch.Tensor
    entries: torch.Tensor
    context: torch.Tensor
    run: slice | None
    mask: torch.Tensor
    positions: tuple[torch.Tensor, torch.Tensor]
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


@dataclass(frozen=True)
class Call:
    """One model call of T new entries. slots: int64 [T], where their keys and values go; written:
    the layers that have put some there."""

    store: KeyValueStore
    slots: torch.Tensor
    blocks: Sequence[Block]
    written: set[int] = field(default_factory=set)

    def write(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Store what a layer has of the new entries.

        NotImplementedError if it has already: what a later call would read could be one of them
        only.
        """
        if layer in self.written:
            raise NotImplementedError("a layer calls its attention several times")
        self.written.add(layer)
        self.store.write(layer, self.slots, key, value)


def make_call(
    store: KeyValueStore, slots: Ints, chunks: Sequence[Chunk], device: Any, dtype: Any
) -> Call:
    """A call on a device, with masks of a dtype; every entry is in one of the chunks."""
    import torch

    blocks = [_block(group, device, dtype) for group in _alike(chunks)]
    return Call(store, torch.from_numpy(slots).to(device), blocks)


def _alike(chunks: Sequence[Chunk]) -> list[list[Chunk]]:
    """Chunks in groups whose padding costs less than further products would."""
    groups: list[list[Chunk]] = []
    width = length = used = 0
    for chunk in sorted(chunks, key=lambda chunk: chunk.seen.shape[::-1], reverse=True):
        own = chunk.seen.size
        padded = max(width, len(chunk.seen)) * length
        if groups and (len(groups[-1]) + 1) * padded <= used + own + CALL_COST:
            groups[-1].append(chunk)
            width, used = max(width, len(chunk.seen)), used + own
        else:
            groups.append([chunk])
            (width, length), used = chunk.seen.shape, own
    return groups


def _block(chunks: Sequence[Chunk], device: Any, dtype: Any) -> Block:
    import torch

    count = len(chunks)
    width, length = (max(chunk.seen.shape[axis] for chunk in chunks) for axis in (0, 1))
    queries = np.zeros((count, width), dtype=np.int64)
    context = np.zeros((count, length), dtype=np.int64)
    at, key_at = np.zeros_like(queries), np.zeros_like(context)
    # Queries that are padding look at one slot, so that their softmax is finite.
    seen = np.zeros((count, width, length), dtype=bool)
    seen[:, :, 0] = True
    answers = []
    for c, chunk in enumerate(chunks):
        w, n = chunk.seen.shape
        queries[c, :w], at[c, :w] = chunk.entries, chunk.query_at
        context[c, :n], key_at[c, :n] = chunk.slots, chunk.key_at
        seen[c, :w, :n] = chunk.seen
        answers.append(c * width + np.arange(w))
    mask = torch.zeros(seen.shape, dtype=dtype, device=device)
    mask.masked_fill_(torch.from_numpy(~seen).to(device), float("-inf"))
    entries = np.concatenate([chunk.entries for chunk in chunks])
    parts = (queries.ravel(), np.concatenate(answers), entries, context, at, key_at)
    on_device = [torch.from_numpy(part).to(device) for part in parts]
    return Block(
        queries=on_device[0],
        answers=on_device[1],
        entries=on_device[2],
        context=on_device[3],
        run=_run(context),
        mask=mask[:, None],
        positions=(on_device[4], on_device[5]),
    )


def _run(context: Ints) -> slice | None:
    """The slots of a single chunk as a slice, if they follow each other."""
    first, count = int(context[0, 0]), context.shape[1]
    if len(context) > 1 or not np.array_equal(context[0], np.arange(first, first + count)):
        return None
    return slice(first, first + count)


@dataclass(frozen=True)
class Seen:
    """What a mask lets a query see: `window` positions, its own included (None: the whole past);
    or something `other`, in words, that token trees don't know."""

    window: int | None = None
    other: str = ""


_SEEN = "lmfst_seen"


def seen_by(
    q_length: int,
    kv_length: int,
    config: Any = None,
    local_size: int | None = None,
    use_vmap: bool = False,
    device: Any = None,
    **options: Any,
) -> torch.Tensor:
    """A mask function for transformers' interface, to go with `attend`: a mask without contents
    that carries a `Seen`. A layer that makes another one of it shows by that that it sees less.

    local_size: the size of a window or a chunk. use_vmap: whether the model adds a rule of its own.
    """
    import torch

    window = getattr(config, "sliding_window", None)
    if use_vmap:
        seen = Seen(other="a mask with a rule of its own")
    elif local_size is None:
        seen = Seen()
    elif local_size != window or local_size == getattr(config, "attention_chunk_size", None):
        seen = Seen(other="a context in chunks")
    else:
        seen = Seen(window)
    mask = torch.ones((), dtype=torch.bool, device=device).expand(1, 1, q_length, kv_length)
    setattr(mask, _SEEN, seen)
    return mask


def _window(store: KeyValueStore, mask: torch.Tensor | None, told: int | None) -> int | None:
    """How far a layer looks back. told: what it says beside its mask."""
    if mask is None:
        store.unmasked.add(told)
        return told
    seen: Seen | None = getattr(mask, _SEEN, None)
    if seen is None or seen.other:
        raise NotImplementedError(
            f"its attention has {seen.other if seen else 'a mask that it makes itself'}"
        )
    return seen.window


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
    unknown = [
        k for k, v in options.items() if k not in _TAKEN and v is not None and v is not False
    ]
    if unknown:
        # Sinks, biases, chosen keys …: left out, they would change numbers.
        raise NotImplementedError(f"attention with {', '.join(unknown)}")
    call = lmfst_call
    window = _window(call.store, attention_mask, options.get("sliding_window"))
    call.write(module.layer_idx, key[0], value[0])
    _, heads, count, size = query.shape
    result = query.new_empty((count, heads, value.shape[3]))
    for block in call.blocks:
        keys, values = call.store.read(module.layer_idx, block.context, block.run, size)
        asked = query[0].index_select(1, block.queries)
        asked = asked.view(heads, len(block.context), -1, size).transpose(0, 1)
        mask = block.mask_for(window, heads // keys.shape[1])
        mixed = _attention(asked, keys, values, mask, scaling, options.get("softcap"))
        flat = mixed.transpose(1, 2).reshape(-1, heads, mixed.shape[3])
        result.index_copy_(0, block.entries, flat.index_select(0, block.answers))
    return result[None], None


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
