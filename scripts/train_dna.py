"""Train the DNA model of data/dna: a causal transformer over single nucleotides.

python scripts/train_dna.py --work DIR [--out DIR] [--genome FILE.gbk.gz] [--steps N] ...

Rows of training text are of two kinds: windows of contigs, of either strand, which begin and end
anywhere; and genes as documents, BOS, start codon … stop codon, EOS. So BOS means that a gene
begins, in frame. Matrices are trained with Muon (orthogonalised momentum), the rest with AdamW. The
learning rate is flat after a warm-up and falls to zero over the last part of the run; the rows get
longer in three stages.

Every batch is drawn from (seed, step) alone, so a run that is killed and started again with the
same --work goes on as if nothing had happened. --steps may be changed as long as the learning rate
has not begun to fall. A ready model folder is in --out from the first validation on.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dna_data import BOS, EOS, GENBANK, SYMBOLS, Part, document, other_strand, read_genome
from dna_optimiser import Muon

CONTEXT = 2048
# Share of the run, and row length in tokens, of each stage.
STAGES = ((0.5, 256), (0.9, 512), (1.0, CONTEXT))
BATCH_TOKENS = 4096
WARMUP_STEPS = 100
FALL = 0.235  # the last part of the run, over which the learning rate falls to zero
CLIP = 1.0
IGNORED = -100


# Data.


class Rows:
    """Training rows, drawn at random.

    gene_share: share of the rows that hold genes as documents.
    """

    def __init__(self, part: Part, gene_share: float) -> None:
        self.contigs = [s for c in part.contigs for s in (c, other_strand(c))]
        sizes = np.array([len(c) for c in self.contigs])
        self.weights = sizes / sizes.sum()
        self.genes = [document(gene) for gene in part.genes]
        self.gene_share = gene_share

    def batch(self, seed: int, step: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets, int64 [rows, length], of one step."""
        rng = np.random.default_rng([seed, step])
        rows = BATCH_TOKENS // length
        genes = int(rows * self.gene_share + rng.random())
        drawn = [self._row(rng, length, gene=i < genes) for i in range(rows)]
        return np.stack([x for x, _ in drawn]), np.stack([y for _, y in drawn])

    def _row(
        self, rng: np.random.Generator, length: int, *, gene: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pieces one after the other; the first token of a piece is not predicted."""
        tokens = np.zeros(length + 1, dtype=np.int64)
        predicted = np.ones(length + 1, dtype=bool)
        filled = 0
        while filled <= length:
            piece = self._gene(rng, length) if gene else self._window(rng)
            piece = piece[: length + 1 - filled]
            tokens[filled : filled + len(piece)] = piece
            predicted[filled] = False
            filled += len(piece)
        return tokens[:-1], np.where(predicted, tokens, IGNORED)[1:]

    def _window(self, rng: np.random.Generator) -> np.ndarray:
        contig = self.contigs[rng.choice(len(self.contigs), p=self.weights)]
        return contig[rng.integers(len(contig) - 1) :]

    def _gene(self, rng: np.random.Generator, length: int) -> np.ndarray:
        """A gene; every other one that is longer than a row begins in the middle."""
        gene = self.genes[rng.integers(len(self.genes))]
        if len(gene) > length and rng.random() < 0.5:
            return gene[rng.integers(1, len(gene) - 1) :]
        return gene


# Model.


def new_model(width: int, layers: int, heads: int) -> Any:
    """A GPT-NeoX model for six symbols: rotary positions, attention beside the feed-forward layer.

    Projections into the residual stream begin at zero, so that every layer begins as the identity.
    """
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        vocab_size=len(SYMBOLS),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        hidden_act="gelu",
        max_position_embeddings=CONTEXT,
        bos_token_id=BOS,
        eos_token_id=EOS,
        use_parallel_residual=True,
        # All of a head turns with the position: near neighbours have to be told apart.
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 1.0,
        },
    )
    model = GPTNeoXForCausalLM(config)
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_(std=0.5)
        for layer in model.gpt_neox.layers:
            layer.attention.dense.weight.zero_()
            layer.mlp.dense_4h_to_h.weight.zero_()
    return model


def new_tokenizer() -> Any:
    """One token per letter. Letters other than A, C, G, T give no token."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE(vocab={s: i for i, s in enumerate(SYMBOLS)}, merges=[]))
    raw.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token=SYMBOLS[BOS],
        eos_token=SYMBOLS[EOS],
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def export(model: Any, folder: Path, facts: dict[str, Any]) -> None:
    """Write a transformers folder; `facts` go into training.json."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(str(folder))
    (folder / "model.safetensors").chmod(0o644)  # it is made readable for its owner only
    new_tokenizer().save_pretrained(str(folder))
    (folder / "training.json").write_text(json.dumps(facts, indent=1) + "\n")


# Schedule.


def rate_at(step: int, steps: int) -> float:
    """The learning rate of a step, as a share of the full one."""
    return min(1.0, (step + 1) / WARMUP_STEPS, (steps - step) / (FALL * steps))


def length_at(step: int, steps: int) -> int:
    """The row length of a step, in tokens."""
    return next(length for share, length in STAGES if step < share * steps)


# Validation.


def strided(ids: np.ndarray, window: int, stride: int) -> Iterator[tuple[np.ndarray, int]]:
    """Windows of at most `window` ids, and how many of the last predictions count: together, all
    ids but the first one."""
    for end in range(min(window, len(ids)), len(ids) + stride, stride):
        end = min(end, len(ids))
        begin = max(0, end - window)
        yield ids[begin:end], (end - begin - 1) if begin == 0 else stride
        if end == len(ids):
            return


def bits(model: Any, texts: list[np.ndarray], window: int, stride: int) -> tuple[float, int]:
    """Surprisal in bits of all ids of `texts` but the first of each, and how many they are.

    Texts longer than `window` are read in windows that begin `stride` apart.
    """
    import torch

    total, count = 0.0, 0
    with torch.no_grad():
        for text in texts:
            left = len(text) - 1
            for ids, counted in strided(text, window, stride):
                # The last window reaches back over what has been counted.
                counted = min(counted, left)
                left -= counted
                x = torch.from_numpy(ids.astype(np.int64))[None]
                logp = model(input_ids=x[:, :-1], use_cache=False).logits[0].double().log_softmax(1)
                chosen = logp.gather(1, x[0, 1:, None])[-counted:]
                total -= float(chosen.sum()) / math.log(2)
                count += counted
    return total, count


@dataclass
class Checks:
    """A fixed piece of the validation contig."""

    contig: list[np.ndarray]
    genes: list[np.ndarray]

    @classmethod
    def of(cls, part: Part) -> Checks:
        size = 1024
        pieces = [c[i : i + size] for c in part.contigs for i in range(0, len(c) - size, 20 * size)]
        return cls(pieces, [document(g)[:size] for g in part.genes[::16]])

    def run(self, model: Any, window: int) -> dict[str, float]:
        """Bits per symbol of contig pieces and of genes as documents (EOS counts), read in windows
        of the length that the model has been trained on so far."""
        model.eval()
        found = {}
        for name in ("contig", "genes"):
            total, count = bits(model, getattr(self, name), window, window // 2)
            found[f"validation_{name}"] = round(total / count, 5)
        model.train()
        return found


# The run.


def save(path: Path, model: Any, optimiser: Muon, step: int, settings: dict[str, Any]) -> None:
    """Replace the checkpoint in one move."""
    from safetensors.torch import save_file

    tensors = {f"model.{name}": t for name, t in model.state_dict().items()}
    tensors |= optimiser.tensors()
    fresh = path.with_suffix(".tmp")
    notes = {"step": str(step), "settings": json.dumps(settings)}
    save_file({k: t.detach().clone().contiguous() for k, t in tensors.items()}, fresh, notes)
    os.replace(fresh, path)


def resume(path: Path, model: Any, optimiser: Muon, settings: dict[str, Any]) -> int:
    """Load the checkpoint, if there is one. Returns the number of steps done."""
    from safetensors import safe_open

    if not path.is_file():
        return 0
    with safe_open(str(path), "pt") as held:
        notes = held.metadata()
        tensors = {key: held.get_tensor(key) for key in held.keys()}  # noqa: SIM118
    if json.loads(notes["settings"]) != settings:
        raise SystemExit(
            f"{path} was made with other settings: {notes['settings']}; give those, or another "
            "--work folder"
        )
    model.load_state_dict({k[6:]: t for k, t in tensors.items() if k.startswith("model.")})
    optimiser.load(tensors)
    return int(notes["step"])


def train(args: argparse.Namespace, say: Callable[[str], None]) -> None:
    """The whole run."""
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    settings = {"seed": args.seed, "gene_share": args.gene_share}
    settings |= {"width": args.width, "layers": args.layers, "heads": args.heads}
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    parts = read_genome(args.genome)
    rows, checks = Rows(parts["train"], args.gene_share), Checks.of(parts["validation"])
    model = new_model(args.width, args.layers, args.heads).train()
    optimiser = Muon(model)
    args.work.mkdir(parents=True, exist_ok=True)
    checkpoint = args.work / "checkpoint.safetensors"
    step = resume(checkpoint, model, optimiser, settings)
    size = sum(p.numel() for p in model.parameters())
    say(f"{size} parameters, {args.steps} steps, from step {step}")
    loss_sum, since, begun = 0.0, 0, time.monotonic()
    while step < args.steps:
        loss_sum += _step(model, optimiser, rows, step, args)
        step += 1
        since += 1
        if step % args.every == 0 or step == args.steps:
            found = {
                "train": round(loss_sum / since, 5),
                **checks.run(model, length_at(step - 1, args.steps)),
            }
            pace = since * BATCH_TOKENS / (time.monotonic() - begun)
            facts = {"step": step, "steps": args.steps, **settings, **found}
            save(checkpoint, model, optimiser, step, settings)
            export(model, args.out, facts)
            say(f"{json.dumps(facts)} {pace:.0f} tokens/s")
            loss_sum, since, begun = 0.0, 0, time.monotonic()


def _step(model: Any, optimiser: Muon, rows: Rows, step: int, args: argparse.Namespace) -> float:
    """One update. Returns the batch's loss in bits per symbol."""
    import torch

    length = length_at(step, args.steps)
    inputs, targets = map(torch.from_numpy, rows.batch(args.seed, step, length))
    logits = model(input_ids=inputs, use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED
    )
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    optimiser.step(rate_at(step, args.steps))
    model.zero_grad(set_to_none=True)
    return float(loss.detach()) / math.log(2)


def main() -> None:
    """Read the options and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--genome", type=Path, default=GENBANK, help="the GenBank file")
    parser.add_argument("--work", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--out", type=Path, help="model folder to write (default: WORK/model)")
    parser.add_argument("--steps", type=int, default=1700)
    parser.add_argument("--every", type=int, default=50, help="steps between checkpoints")
    parser.add_argument("--gene-share", type=float, default=0.5, help="rows of genes as documents")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out = args.out or args.work / "model"
    train(args, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
