"""Attention over token trees: the store of keys and values, and what a call looks at.

The T new entries of a call come in blocks of chunks (`lmfst.lm.packing`), each of which is one
product.

What a layer may see of the past (all of it, or a sliding window) it learns from the model as every
other attention function does: by the mask. `seen_by` stands in for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lmfst.ground.arrays import Ints
from lmfst.lm.packing import Packed
from lmfst.lm.transfers import Outbox

if TYPE_CHECKING:
    import torch

ATTENTION = "lmfst_tree"
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
    [slots, key-value heads, size of a key + size of a value], on the device of the layer."""

    def __init__(self) -> None:
        self._held: dict[int, torch.Tensor] = {}
        self._picked: dict[torch.device, torch.Tensor] = {}
        self.capacity = 0
        self.unmasked: set[int | None] = set()
        """What layers without a mask said of their sliding window (None: nothing)."""
        self._spare = 1.5

    def reserve(self, slots: int) -> None:
        """Have room for so many slots from the next `write` on."""
        if self.capacity < slots:
            self.capacity = max(256, slots, int(self.capacity * self._spare))

    def grow_sparingly(self) -> None:
        """From now on grow by what is needed only: memory is short."""
        self._spare = 1.0
        self.capacity = min((len(held) for held in self._held.values()), default=0)
        self._picked.clear()

    def write(
        self,
        layer: int,
        slots: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        run: slice | None = None,
    ) -> None:
        """Store key and value, [heads, entries, size], of new entries of a layer.

        run: the slots, if they follow each other.
        """
        import torch

        size = key.shape[2]
        key, value = key.transpose(0, 1), value.transpose(0, 1)
        held = self._held.get(layer)
        if held is None or len(held) < self.capacity:
            # What padding reads is in the first slot, which the first call writes.
            grown = key.new_empty((self.capacity, key.shape[1], size + value.shape[2]))
            if held is not None:
                grown[: len(held)] = held
            self._held[layer] = held = grown
        if run is None:
            held.index_copy_(0, slots, torch.cat([key, value], dim=-1))
        else:
            held[run, :, :size] = key
            held[run, :, size:] = value

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

        kept = self._picked.get(held.device)
        if kept is None or len(kept) < len(slots):
            # The old one goes before there is a new one.
            kept = None
            self._picked.pop(held.device, None)
            kept = self._picked[held.device] = held.new_empty((len(slots), *held.shape[1:]))
        out = kept[: len(slots)]
        if out.shape[1:] != held.shape[1:]:
            return held.index_select(0, slots)
        return torch.index_select(held, 0, slots, out=out)


@dataclass(frozen=True)
class Block:
    """c chunks that are attended to in one product, padded to w queries and n keys each.

    queries: which of all queries of the call they have. context: int64 [c, n] slots, and `run`, see
    `KeyValueStore.read`. mask: float [c, 1, w, n], 0 where a query may look and elsewhere the least
    number that there is. positions: int64 [c, w] of queries and [c, n] of keys.
    """

    queries: slice
    context: torch.Tensor
    run: slice | None
    mask: torch.Tensor
    positions: tuple[torch.Tensor, torch.Tensor]
    _masks: dict[tuple[int | None, int], torch.Tensor] = field(default_factory=dict)

    def on(self, device: torch.device) -> Block:
        """The same on another device."""
        query, key = self.positions
        return replace(
            self,
            context=self.context.to(device),
            mask=self.mask.to(device),
            positions=(query.to(device), key.to(device)),
            _masks={},
        )

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
    """One model call of T new entries.

    slots: int64 [T], where their keys and values go, and `run`, see `KeyValueStore.write`.
    queries: int64, of all blocks, which entry each one is; answers: int64 [T], where among all
    queries that of each entry is. Both are None where the queries are the entries. written: the
    layers that have stored something.
    """

    store: KeyValueStore
    slots: torch.Tensor
    blocks: Sequence[Block]
    queries: torch.Tensor | None = None
    answers: torch.Tensor | None = None
    run: slice | None = None
    written: set[int] = field(default_factory=set)
    _elsewhere: dict[torch.device, Call] = field(default_factory=dict)

    def on(self, device: torch.device) -> Call:
        """The same on the device of a layer; made once for all layers there."""
        if device == self.slots.device:
            return self
        if device not in self._elsewhere:
            self._elsewhere[device] = replace(
                self,
                slots=self.slots.to(device),
                blocks=[block.on(device) for block in self.blocks],
                queries=None if self.queries is None else self.queries.to(device),
                answers=None if self.answers is None else self.answers.to(device),
                _elsewhere={},
            )
        return self._elsewhere[device]

    def write(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Store what a layer has of the new entries.

        NotImplementedError if it has already: what a later call would read could be one of them
        only.
        """
        if layer in self.written:
            raise NotImplementedError("a layer calls its attention several times")
        self.written.add(layer)
        self.store.write(layer, self.slots, key, value, self.run)


@dataclass(frozen=True)
class Inputs:
    """What a model is called with: tokens int64 [T] and positions int64 [T] of new entries, their
    `Call`, and asked, the places int64 in the call of those whose rows are wanted."""

    tokens: torch.Tensor
    positions: torch.Tensor
    call: Call
    asked: torch.Tensor


def make_inputs(store: KeyValueStore, packed: Packed, outbox: Outbox, dtype: Any) -> Inputs:
    """What was packed, on a device, in one transfer; masks are of a dtype."""
    import torch

    given = (packed.entries, packed.asked, packed.queries, packed.keys, packed.unseen)
    entries, asked, queries, key_parts, unseen = outbox.send_now(given)
    tokens, positions, slots, answers = entries.unbind()
    keys, key_at = key_parts.unbind()
    # Several times as fast as filling in minus infinity, of which softmax makes the same 0.
    mask = unseen.to(dtype).mul_(torch.finfo(dtype).min)
    blocks, query, key, pair = [], 0, 0, 0
    query_at = positions[queries]
    for c, w, n in packed.blocks.tolist():
        ends = query + c * w, key + c * n, pair + c * w * n
        blocks.append(
            Block(
                queries=slice(query, ends[0]),
                context=keys[key : ends[1]].view(c, n),
                run=_run(packed.keys[0, key : ends[1]]) if c == 1 else None,
                mask=mask[pair : ends[2]].view(c, 1, w, n),
                positions=(query_at[query : ends[0]].view(c, w), key_at[key : ends[1]].view(c, n)),
            )
        )
        query, key, pair = ends
    # A single chunk has the entries in order.
    single = len(blocks) == len(blocks[0].context) == 1
    call = Call(
        store,
        slots,
        blocks,
        queries=None if single else queries,
        answers=None if single else answers,
        run=_run(packed.entries[2]),
    )
    return Inputs(tokens, positions, call, asked)


def _run(slots: Ints) -> slice | None:
    """Slots as a slice, if they follow each other."""
    first, count = int(slots[0]), len(slots)
    if slots[-1] != first + count - 1 or (np.diff(slots) != 1).any():
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
    import torch

    if lmfst_call is None:
        raise NotImplementedError("the model doesn't hand its keyword arguments to the attention")
    unknown = [
        k for k, v in options.items() if k not in _TAKEN and v is not None and v is not False
    ]
    if unknown:
        # Sinks, biases, chosen keys …: left out, they would change numbers.
        raise NotImplementedError(f"attention with {', '.join(unknown)}")
    call = lmfst_call.on(key.device)
    window = _window(call.store, attention_mask, options.get("sliding_window"))
    call.write(module.layer_idx, key[0], value[0])
    _, heads, _, size = query.shape
    asked = query[0].transpose(0, 1)
    if call.queries is not None:
        asked = asked.index_select(0, call.queries)
    answers = []
    for block in call.blocks:
        keys, values = call.store.read(module.layer_idx, block.context, block.run, size)
        own = asked[block.queries].unflatten(0, (len(block.context), -1)).transpose(1, 2)
        mask = block.mask_for(window, heads // keys.shape[1])
        answers.append(_attention(own, keys, values, mask, scaling, options.get("softcap")))
    result = answers[0] if len(answers) == 1 else torch.cat(answers)
    if call.answers is not None:
        result = result.index_select(0, call.answers)
    return result[None], None


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    scaling: float | None,
    softcap: float | None,
) -> torch.Tensor:
    """Masked attention of queries [chunks, heads, w, size]; the answers [chunks * w, heads, size].

    Query heads that share a key-value head are folded into its queries, and the mask is for these.
    """
    import torch

    chunks, heads, width, size = query.shape
    shared = heads // key.shape[1]
    folded = query.reshape(chunks, key.shape[1], shared * width, size)
    if softcap is None:
        mixed = torch.nn.functional.scaled_dot_product_attention(
            folded, key, value, attn_mask=mask, scale=scaling
        )
    else:
        scores = folded @ key.transpose(2, 3) * (size**-0.5 if scaling is None else scaling)
        scores = torch.tanh(scores / softcap) * softcap + mask
        mixed = torch.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype) @ value
    # A product leaves heads beside each other, so that nothing is copied where none are folded.
    apart = mixed.transpose(1, 2).reshape(chunks, shared, width, key.shape[1], value.shape[3])
    return apart.permute(0, 2, 3, 1, 4).reshape(chunks * width, heads, value.shape[3])
