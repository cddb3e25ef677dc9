"""How fast strings are drawn and decoded: beside transformers' own, together beside one by one,
and proteins within a grammar.

Sections: generate (16 strings of 100 bytes after a prompt of 76 bytes beside as many continuations
of its tokens by transformers' `generate`, in turn), together (64 strings beside 16 one by one, with
and without a prompt), decode (16 prompts decoded greedily for 30 bytes, together beside one by
one), proteins (100 proteins that begin with M and end with *, under the model of DNA).

    python scripts/bench_strings.py [--only SECTION …] [--pairs N] [--threads N]

Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch

import lmfst
from lmfst.generate.decode import Beam, Decoding
from lmfst.lm.default import default_model_dir

SECTIONS = ("generate", "together", "decode", "proteins")
PROMPT = "The harbour had been quiet since the herring left. Nets hung dry along the w"
TOKENS = 28
"""That 100 bytes take, about."""
PROTEINS = """residue = "A" | "C" | "D" | "E" | "F" | "G" | "H" | "I" | "K" | "L" | "M" | "N" | "P"
    | "Q" | "R" | "S" | "T" | "V" | "W" | "Y";
export MAIN = "M" residue* "*";
"""
RESIDUES = (256, 512)
LINES = Path(__file__).resolve().parent.parent / "data" / "bench.txt"


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that something takes, and what it gives."""
    begin = time.perf_counter()
    found = run()
    return time.perf_counter() - begin, found


def drawn(model: Any, count: int, seed: int, **options: Any) -> float:
    """Bytes a second of strings that are drawn."""
    seconds, found = timed(
        lambda: list(lmfst.sample(model, count, seed=seed, max_units=100, **options))
    )
    return sum(one.units for one in found) / seconds


def generated(reference: Any, model: Any, count: int, seed: int) -> float:
    """Bytes a second of transformers' own continuations of the prompt's tokens."""
    lm = model.lm
    begin = [] if lm.bos is None else [lm.bos]
    ids = torch.tensor([[*begin, *lm.encode(PROMPT.encode())]] * count)
    torch.manual_seed(seed)
    options = {"do_sample": True, "top_k": 0, "min_new_tokens": TOKENS, "max_new_tokens": TOKENS}
    with torch.no_grad():
        seconds, found = timed(lambda: reference.generate(ids, pad_token_id=0, **options))
    spelled = lm.vocab.token_bytes[-1]
    tokens = found[:, ids.shape[1] :].flatten().tolist()
    return sum(len(spelled[token] or b"") for token in tokens) / seconds


def told(what: str, pairs: list[tuple[float, float]], names: tuple[str, str]) -> None:
    """Print medians and ratios of pairs."""
    ratios = sorted(one / other for one, other in pairs)
    one, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"{what}: {names[0]} {one:.0f}, {names[1]} {other:.0f}, ratio "
        f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
        flush=True,
    )


def measure_generate(model: Any, pairs: int) -> None:
    """Print bytes a second beside those of transformers."""
    import transformers

    reference = transformers.AutoModelForCausalLM.from_pretrained(
        default_model_dir(print), dtype=torch.float32
    ).eval()
    generated(reference, model, 2, 0)
    drawn(model, 2, 0, prompt=PROMPT)
    found = [
        (drawn(model, 16, seed, prompt=PROMPT), generated(reference, model, 16, seed))
        for seed in range(1, pairs + 1)
    ]
    told("16 strings after a prompt, bytes/s", found, ("lmfst", "generate"))


def measure_together(model: Any, pairs: int) -> None:
    """Print bytes a second of many strings beside those of one at a time."""
    for what, prompt in (("no prompt", ""), ("a prompt", PROMPT)):
        drawn(model, 2, 0, prompt=prompt)
        found = [
            (
                drawn(model, 64, seed, prompt=prompt),
                drawn(model, 16, seed, prompt=prompt, batch=1),
            )
            for seed in range(1, pairs + 1)
        ]
        told(f"{what}, bytes/s", found, ("64 strings together", "one by one"))


def measure_decode(model: Any, pairs: int) -> None:
    """Print bytes a second of prompts that are decoded together beside one by one."""
    lines = [line.split() for line in LINES.read_text().splitlines() if line]
    prompts = [
        tuple(model.symbols(" ".join(line[: 6 + number % 5]).encode()))
        for number, line in enumerate((lines * 16)[:16])
    ]
    decoding = Decoding(model, Beam(max_units=30))
    list(decoding.after_all(prompts[:1]))
    found = []
    for _ in range(pairs):
        together, _strings = timed(lambda: list(decoding.after_all(prompts)))
        alone, _strings = timed(lambda: [list(decoding.after_all([one])) for one in prompts])
        found.append((16 * 30 / together, 16 * 30 / alone))
    told("16 prompts, 30 bytes each, bytes/s", found, ("together", "one by one"))


def measure_proteins() -> None:
    """Print what 100 proteins take, cut after so many residues; loading isn't counted, getting
    ready to draw is."""
    model = lmfst.load("dna", to="amino", policy="beam")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "protein.grm")
        path.write_text(PROTEINS)
        within = lmfst.load_within(str(path), model.target)
    for most in RESIDUES:
        draw = partial(lmfst.sample, model, 100, seed=0, within=within, max_units=most)
        seconds, found = timed(partial(_all, draw))
        whole = sum(not one.cut for one in found)
        units = statistics.median(one.units for one in found)
        print(
            f"100 proteins of at most {most} residues, {found[0].way}: {seconds:.1f} s, {whole} "
            f"ended, {units:g} residues (median)",
            flush=True,
        )


def _all(draw: Callable[[], Iterable[Any]]) -> list[Any]:
    return list(draw())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--only", action="append", choices=SECTIONS, help="a section; may be repeated")
    add("--pairs", type=int, default=3)
    add("--threads", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    only = given.only or SECTIONS
    print(f"lmfst {lmfst.__version__}, {given.threads} threads, load {os.getloadavg()[0]:.1f}")
    if only != ["proteins"]:
        model = lmfst.load(to="bytes", warn=lambda message: None)
    if "generate" in only:
        measure_generate(model, given.pairs)
    if "together" in only:
        measure_together(model, given.pairs)
    if "decode" in only:
        measure_decode(model, given.pairs)
    if "proteins" in only:
        measure_proteins()


if __name__ == "__main__":
    main()
