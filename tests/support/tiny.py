"""Tiny transformers models with random weights, as folders and GGUF files; n-gram tables."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lmfst.lm.arpa import read_tables, write_arpa
from lmfst.lm.ngram import NgramLM, NgramTables

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n'}}{% endfor %}"
)
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""Special tokens of a tiny model: ids 0, 1 and 2. The 256 bytes follow."""


def letters() -> list[str]:
    """The byte-level alphabet, sorted."""
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


def llama(size: int, layers: int = 1) -> Any:
    """The configuration of a tiny llama model of `size` tokens."""
    import transformers

    return transformers.LlamaConfig(
        vocab_size=size,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=0,
        eos_token_id=0,
    )


def make_folder(path: Path, *, special: bool = True, **tokenizer: Any) -> Path:
    """A folder with a llama model of 259 tokens. tokenizer: keyword arguments of its tokenizer.
    special: whether `SPECIALS` are special tokens."""
    import torch
    import transformers
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    vocab = {token: i for i, token in enumerate((*SPECIALS, *letters()))}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_tokens([AddedToken(token, special=special) for token in SPECIALS])
    options = {"bos_token": SPECIALS[0], "eos_token": SPECIALS[0], **tokenizer}
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=core, **options)
    fast.save_pretrained(path)
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(llama(len(vocab)))
    model.save_pretrained(path)
    return path


def change(path: Path, **values: Any) -> None:
    """Set keys of a JSON file; None removes one."""
    held = json.loads(path.read_text()) | values
    path.write_text(json.dumps({k: v for k, v in held.items() if v is not None}))


def make_gguf(
    path: Path,
    *,
    bos: int | None,
    eos: int | None,
    template: str | None,
    rows: int | None = None,
    vocabulary: Sequence[tuple[str, int]] | None = None,
    kind: str = "gpt2",
    space_prefix: bool | None = None,
) -> Path:
    """A GGUF file of a llama model of `rows` tokens (as many as there are). vocabulary: tokens and
    their types, by default the tokens of `make_folder` and "ab". kind: the tokenizer's model."""
    import gguf

    if vocabulary is None:
        vocabulary = [(token, gguf.TokenType.CONTROL) for token in SPECIALS]
        vocabulary += [(token, gguf.TokenType.NORMAL) for token in (*letters(), "ab")]
    tokens = [token for token, _ in vocabulary]
    rows = len(tokens) if rows is None else rows
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(32)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(8)
    writer.add_vocab_size(rows)
    writer.add_tokenizer_model(kind)
    writer.add_token_list(tokens)
    writer.add_token_types([type_ for _, type_ in vocabulary])
    if kind == "gpt2":
        writer.add_token_merges(["a b"])
    else:
        writer.add_token_scores([-float(i) for i in range(len(tokens))])
    if space_prefix is not None:
        writer.add_add_space_prefix(space_prefix)
    if bos is not None:
        writer.add_bos_token_id(bos)
    if eos is not None:
        writer.add_eos_token_id(eos)
    if template is not None:
        writer.add_chat_template(template)
    random = np.random.default_rng(0)

    def add(name: str, shape: Sequence[int]) -> None:
        writer.add_tensor(name, random.normal(size=shape).astype(np.float32))

    for name in ("token_embd.weight", "output.weight"):
        add(name, (rows, 32))
    for part in ("attn_norm", "ffn_norm"):
        add(f"blk.0.{part}.weight", (32,))
    add("output_norm.weight", (32,))
    for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        add(f"blk.0.{part}.weight", (32, 32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def letter_bigram(path: Path, letters: str = "ACGT", seed: int = 5, end: float = 1e-3) -> None:
    """A random bigram model over letters; end: probability of `</s>` after each."""
    names = ["<s>", "</s>", *letters]
    rng = np.random.default_rng(seed)
    unigrams = {(n,): (-99.0 if n == "<s>" else math.log10(0.2), 0.0) for n in names}
    bigrams = {}
    for name in ("<s>", *letters):
        p = (1 - end) * rng.dirichlet(np.full(len(letters), 3.0))
        bigrams[name, "</s>"] = (math.log10(end), 0.0)
        bigrams |= {(name, b): (math.log10(q), 0.0) for b, q in zip(letters, p, strict=True)}
    write_arpa(NgramTables([unigrams, bigrams]), path)


def write_normalised(arpa: str, path: Path) -> Path:
    """Write a model whose rows are divided by their sums: the same one, without the warning."""
    path.write_text(arpa)
    write_arpa(normalised(read_tables(path)), path)
    return path


def normalised(tables: NgramTables) -> NgramTables:
    """A bigram model in which every row is divided by its sum over all words but <s>."""
    model = NgramLM(tables)
    sums = [math.log10(x) for x in model.sums()]
    total = {tuple(model.names[t] for t in model.context(s)): x for s, x in enumerate(sums)}
    own = total[()]
    first = {g: (p - own, b + own - total.get(g, own)) for g, (p, b) in tables.grams[0].items()}
    second = {g: (p - total[g[:1]], b) for g, (p, b) in tables.grams[1].items()}
    return NgramTables((first, second))
