"""Fuzz the grammar compiler: mutated grammars must compile or give an error, and nothing else.

    python scripts/fuzz_grammar.py [--seconds 600] [--seed 0] [--keep FOLDER]

Each round mutates one of the test grammars (or a data file beside it) and compiles it as a user
would, in a process of its own with short limits. What must hold:

- the only exceptions are lmfst's own, with a message of at least one line, and no traceback in it;
- it ends within the limits;
- the output file is either whole or not there, and no temporary file stays behind.

Between rounds many more mutated texts are only parsed. A failing case is kept with its seed; the
exit status is 1 if there was one.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from lmfst.grammar import compile_file, parse
from lmfst.ground.errors import LmfstError

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "tests" / "data" / "grammar"
STATEMENT_SECONDS = 4.0
ROUND_SECONDS = 60.0
MEMORY = 1 << 30
PARSES_PER_ROUND = 40

TOKEN = re.compile(
    r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|<[^>]*>|#[^\n]*|[\w.]+|\s+|.", re.DOTALL
)
_SNIPPETS = r"""
import as export func return byte utf8 ; , . | : @ - * + ? ( ) [ ] { } {1,3} {0} {99999} = <1>
<-1> <inf> <nan> <x> "a" "" "[BOS]" "[EOS]" "[0]" "[256]" "[99999999999]" "[x_y]" "\\\\" "é".utf8
'' 'x.far' 'lib/words.tsv' 'g.grm' a sigma_star Optimize[ Determinize[ CDRewrite[ Project[
Replace[ Invert[ Minimize[ Reverse[ RmEpsilon[ StringFile[ LoadFst[ LoadFstFromFar[ SymbolTable[
Compose[ AssertEqual[ AssertNull[ Feature[ Category[ FeatureVector[ PdtCompose[ MPdtCompose[
LenientlyCompose[ Twice[ 'input' 'output' 'ltr' 'opt' " ' < > # \\ é [[ ]] * * *
"""
SNIPPETS = [*_SNIPPETS.split(), "\0", "\ufeff", "\n", " "]


def mutate(text: str, others: list[str], rng: random.Random) -> str:
    """A few random changes of tokens, characters and lines."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        tokens = TOKEN.findall(text) or [""]
        place = rng.randrange(len(tokens))
        kind = rng.randrange(9)
        if kind == 0:
            del tokens[place]
        elif kind == 1:
            tokens.insert(place, rng.choice(SNIPPETS))
        elif kind == 2:
            tokens[place] = rng.choice(SNIPPETS)
        elif kind == 3:
            tokens[place] = rng.choice(tokens)
        elif kind == 4:
            end = min(len(tokens), place + rng.randrange(1, 12))
            tokens[place:end] = tokens[place:end] * 2
        elif kind == 5:
            other = TOKEN.findall(rng.choice(others))
            start = rng.randrange(len(other))
            tokens[place:place] = other[start : start + rng.randrange(1, 30)]
        elif kind == 6:
            tokens = tokens[: place + 1]
        elif kind == 7:
            tokens[place] = "".join(rng.sample(tokens[place], len(tokens[place])))
        else:
            position = rng.randrange(len(text) + 1)
            return text[:position] + chr(rng.randrange(0x120)) + text[position:]
        text = "".join(tokens)
    return text


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """A few random changes of bytes."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 5))):
        place = rng.randrange(len(changed) + 1)
        if rng.random() < 0.5 and place < len(changed):
            changed[place] = rng.randrange(256)
        else:
            changed[place:place] = rng.randbytes(rng.randrange(1, 4))
    return bytes(changed)


def round_of(seed: int, folder: Path, grammars: list[Path]) -> str:
    """One compilation; the kind of outcome. RuntimeError if something didn't hold."""
    rng = random.Random(seed)
    work = folder / "work"
    shutil.copytree(CORPUS, work, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    path = work / rng.choice(grammars).relative_to(CORPUS)
    texts = [grammar.read_text(encoding="utf-8") for grammar in grammars]
    if rng.random() < 0.15:
        data_files = sorted((work / "lib").iterdir())
        victim = rng.choice(data_files)
        victim.write_bytes(mutate_bytes(victim.read_bytes(), rng))
    else:
        text = mutate(path.read_text(encoding="utf-8"), texts, rng)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
    output = folder / "out" / ("x.far" if rng.random() < 0.5 else "x.fst")
    output.parent.mkdir()
    begin = time.monotonic()
    outcome = compile_once(path, output)
    if time.monotonic() - begin > ROUND_SECONDS:
        raise RuntimeError(f"took {time.monotonic() - begin:.0f} s")
    left = sorted(item.name for item in output.parent.iterdir())
    if left != ([output.name] if outcome == "compiled" else []):
        raise RuntimeError(f"{outcome}, but the output folder has {left}")
    if outcome == "compiled":
        read_back(output)
    return outcome


def compile_once(path: Path, output: Path) -> str:
    """Compile and write. The name of the error class, or `compiled`."""
    try:
        module = compile_file(
            path,
            cache=False,
            timeout=STATEMENT_SECONDS,
            max_memory=MEMORY,
            max_states=100_000,
            warn=lambda message: None,
        )
        if output.suffix == ".far":
            module.write_far(output)
        else:
            module.write_fst(module.exports[0] if module.exports else None, output)
        return "compiled"
    except LmfstError as error:
        text = str(error)
        if "Traceback" in text or not text.strip() or "status" in text:
            raise RuntimeError(f"a crash became a message: {text}") from error
        return type(error).__name__


def read_back(output: Path) -> None:
    """The written file must be readable."""
    import pynini

    if output.suffix == ".fst":
        pynini.Fst.read(str(output))
        return
    far = pynini.Far(str(output))
    while not far.done():
        far.get_fst()
        far.next()


def parse_some(seed: int, grammars: list[Path]) -> None:
    """Parse mutated texts in this process."""
    rng = random.Random(seed)
    texts = [grammar.read_text(encoding="utf-8") for grammar in grammars]
    for _ in range(PARSES_PER_ROUND):
        text = mutate(rng.choice(texts), texts, rng)
        try:
            parse(text, "fuzz.grm")
        except LmfstError as error:
            if not str(error).startswith("fuzz.grm:"):
                raise RuntimeError(f"an error without a place: {error}") from error


def main() -> int:
    """Run rounds until the time is over; 1 if any of them failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="time to run (600)")
    parser.add_argument("--seed", type=int, default=0, help="of the first round (0)")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="failing cases")
    options = parser.parse_args()
    grammars = sorted(CORPUS.rglob("*.grm"))
    outcomes: Counter[str] = Counter()
    deadline = time.monotonic() + options.seconds
    seed = options.seed
    while time.monotonic() < deadline:
        with tempfile.TemporaryDirectory(prefix="lmfst-fuzz-") as name:
            try:
                parse_some(seed, grammars)
                outcomes[round_of(seed, Path(name), grammars)] += 1
            except Exception:
                outcomes["FAILED"] += 1
                kept = options.keep / f"seed-{seed}"
                shutil.copytree(name, kept, dirs_exist_ok=True)
                print(f"seed {seed} failed; kept in {kept}\n{traceback.format_exc()}", flush=True)
        seed += 1
    rounds = sum(outcomes.values())
    shown = ", ".join(f"{count} {kind}" for kind, count in sorted(outcomes.items()))
    print(f"{rounds} grammars compiled, {rounds * PARSES_PER_ROUND} more parsed: {shown}")
    return 1 if outcomes["FAILED"] else 0


if __name__ == "__main__":
    sys.exit(main())
