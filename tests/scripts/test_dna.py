"""The model of DNA that comes with lmfst, and the scripts that make it and its baselines."""

from __future__ import annotations

import gzip
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import lmfst
from lmfst.cli import app
from lmfst.ground.resources import resource_dir
from lmfst.lm.arpa import write_arpa
from lmfst.lm.base import LM
from lmfst.lm.load import load_lm
from lmfst.lm.transformers import TransformersLM
from tests.support.paths import DATA, SCRIPTS

FOLDER = resource_dir("data") / "dna"


@pytest.fixture(scope="module")
def model() -> TransformersLM:
    warnings: list[str] = []
    loaded = load_lm("dna", warn=warnings.append)
    assert isinstance(loaded, TransformersLM)
    assert loaded.tree and not warnings
    return loaded


@pytest.fixture(scope="module")
def markov() -> LM:
    return load_lm(str(FOLDER / "markov5.arpa"))


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))


def sequences() -> dict[str, str]:
    """Real DNA of the contig that no model was trained on: "piece" and "gene"."""
    records = (DATA / "dna" / "test_contig.fasta").read_text().split(">")[1:]
    piece, gene = ("".join(record.split("\n")[1:]) for record in records)
    return {"piece": piece, "gene": gene}


def bits_per_base(lm: LM, text: str) -> float:
    """Of a document: BOS before it, EOS after it."""
    return -lmfst.load(lm, to="bytes").logp(text) / math.log(2) / (len(text) + 1)


def test_its_vocabulary_is_the_four_bases(model: TransformersLM) -> None:
    vocab = model.vocab
    spelled = {text: i for i, text in enumerate(vocab.token_bytes[0]) if text is not None}
    assert sorted(spelled) == [b"A", b"C", b"G", b"T"]
    assert vocab.size == 6 and len(vocab.eos) == 1
    assert model.bos is not None and vocab.names[model.bos] == "<s>"
    assert vocab.names[vocab.eos[0]] == "</s>"
    assert model.encode(b"ACGT") == [spelled[b] for b in (b"A", b"C", b"G", b"T")]


def test_it_reads_long_genes_and_is_small(model: TransformersLM) -> None:
    assert model.context_length >= 1536
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 12 * 2**20


def test_next_symbol_probabilities_sum_to_one(model: TransformersLM) -> None:
    gene = model.encode(sequences()["gene"].encode())
    assert gene is not None
    usual = [*range(4), *model.vocab.eos]
    rows = np.asarray(model.next_logp([gene[:1], gene[:500], gene]), dtype=np.float64)
    p = np.exp(rows - np.logaddexp.reduce(rows, axis=1, keepdims=True))
    # BOS is outside the support and all but impossible.
    assert p[:, usual].sum(axis=1) == pytest.approx(1, abs=1e-3)
    wide = lmfst.Beam(size=1000, threshold=0.0)
    amino = lmfst.load(model, to="amino:TABLE11", policy=wide).next_logp("MA")
    assert math.fsum(map(math.exp, amino.values())) == pytest.approx(1, abs=1e-5)


def test_it_predicts_held_out_dna_better_than_a_markov_model(
    model: TransformersLM, markov: LM
) -> None:
    gene = sequences()["gene"]
    assert bits_per_base(model, gene) < bits_per_base(markov, gene) - 0.01
    assert bits_per_base(markov, gene) < 2


def test_it_knows_where_genes_begin_and_end(model: TransformersLM) -> None:
    """BOS means that a start codon follows; EOS comes after a stop codon in frame only."""
    bases = lmfst.load(model, to="bytes")
    starts = sum(math.exp(bases.prefix_logp(codon)) for codon in ("ATG", "GTG", "TTG"))
    assert starts > 0.9
    gene = sequences()["gene"]
    end = {n: bases.next_logp(gene[:n])["⊥"] for n in (len(gene) - 3, len(gene) - 1, len(gene))}
    assert end[len(gene)] > math.log(0.5)
    assert max(end[len(gene) - 3], end[len(gene) - 1]) < math.log(0.01)


def test_the_command_line_knows_its_name() -> None:
    done = CliRunner().invoke(
        app, ["convert", "--model", "dna", "--to", "amino"], input="ATGGCGTAA\n"
    )
    assert done.exit_code == 0
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[2] for row in rows] == ["unit", "M", "A", "*", "⊥"]
    assert all(-20 < float(row[5]) < 0 for row in rows[1:])


# The scripts.


def write_genome(path: Path, *, test: str = "NZ_AHMY02000051") -> None:
    """A GenBank file like the real one: random contigs, each with a gene on either strand, and a
    letter N in the first one."""
    from Bio import SeqIO
    from Bio.Seq import Seq
    from Bio.SeqFeature import FeatureLocation, SeqFeature
    from Bio.SeqRecord import SeqRecord

    rng = np.random.default_rng(0)
    records = []
    for name in ("NZ_X", "NZ_AHMY02000040", test):
        spacer = ["".join(rng.choice(list("ACGT"), 700)) for _ in range(3)]
        gene = "ATG" + "GCA" * 30 + "TAA"
        text = spacer[0] + gene + spacer[1] + str(Seq(gene).reverse_complement()) + spacer[2]
        places = [(700, 1), (1400 + len(gene), -1)]
        if name == "NZ_X":
            text = text[:300] + "N" + text[301:]
        record = SeqRecord(Seq(text), id=name + ".1", annotations={"molecule_type": "DNA"})
        for begin, strand in places:
            where = FeatureLocation(begin, begin + len(gene), strand)
            record.features.append(SeqFeature(where, type="CDS"))
            record.features.append(SeqFeature(where, type="CDS", qualifiers={"pseudo": [""]}))
        record.features.append(SeqFeature(FeatureLocation(701, 707, 1), type="CDS"))
        records.append(record)
    with gzip.open(path, "wt") as stream:
        SeqIO.write(records, stream, "genbank")


@pytest.mark.usefixtures("scripts")
def test_a_genome_is_read_by_its_rules(tmp_path: Path) -> None:
    import dna_data

    write_genome(tmp_path / "g.gbk.gz")
    parts = dna_data.read_genome(tmp_path / "g.gbk.gz")
    assert [len(c) for c in parts["train"].contigs] == [300, 2100 + 2 * 96 - 301]
    for part in parts.values():
        spelled = ["".join("ACGT"[i] for i in gene) for gene in part.genes]
        assert spelled == ["ATG" + "GCA" * 30 + "TAA"] * 2
    assert dna_data.other_strand(dna_data.encode("AACGT")).tolist() == [0, 1, 2, 3, 3]
    with pytest.raises(SystemExit, match="any2fasta-examples"):
        dna_data.read_genome(tmp_path / "absent.gbk.gz")
    write_genome(tmp_path / "other.gbk.gz", test="NZ_Y")
    with pytest.raises(SystemExit, match="NZ_AHMY02000051"):
        dna_data.read_genome(tmp_path / "other.gbk.gz")


@pytest.mark.usefixtures("scripts")
def test_rows_predict_all_but_the_first_symbol_of_a_piece(tmp_path: Path) -> None:
    import dna_data
    import train_dna

    write_genome(tmp_path / "g.gbk.gz")
    rows = train_dna.Rows(dna_data.read_genome(tmp_path / "g.gbk.gz")["train"], 1.0)
    inputs, targets = rows.batch(1, 0, 256)
    assert inputs.shape == targets.shape == (train_dna.BATCH_TOKENS // 256, 256)
    assert (inputs[:, 0] == dna_data.BOS).all()
    begins = inputs[:, 1:] == dna_data.BOS
    assert begins.any() and (targets[:, :-1][begins] == train_dna.IGNORED).all()
    assert (targets[:, :-1][~begins] == inputs[:, 1:][~begins]).all()
    # The genes of this genome are all alike, its windows are not.
    rows.gene_share = 0.0
    first, again, other = (rows.batch(1, step, 256)[0] for step in (0, 0, 1))
    assert (first == again).all() and (first != other).any()


@pytest.mark.usefixtures("scripts")
def test_a_run_that_stops_goes_on_as_if_it_had_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import train_dna
    from safetensors.numpy import load_file

    monkeypatch.setattr(train_dna, "BATCH_TOKENS", 128)
    monkeypatch.setattr(train_dna, "STAGES", ((1.0, 64),))
    write_genome(tmp_path / "g.gbk.gz")
    steps = iter(range(6))

    def interrupted(*args: Any) -> float:
        if next(steps) == 5:
            raise KeyboardInterrupt
        return one(*args)

    one = train_dna._step
    options = ["--genome", str(tmp_path / "g.gbk.gz"), "--steps", "6", "--every", "2"]
    options += ["--width", "32", "--layers", "1", "--heads", "2"]
    monkeypatch.setattr(sys, "argv", ["train_dna.py", *options, "--work", str(tmp_path / "a")])
    train_dna.main()
    monkeypatch.setattr(sys, "argv", ["train_dna.py", *options, "--work", str(tmp_path / "b")])
    monkeypatch.setattr(train_dna, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_dna.main()
    monkeypatch.setattr(train_dna, "_step", one)
    train_dna.main()
    a, b = (load_file(tmp_path / run / "model" / "model.safetensors") for run in "ab")
    assert a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--seed", "2"])
    with pytest.raises(SystemExit, match="other settings"):
        train_dna.main()


@pytest.mark.usefixtures("scripts")
def test_windows_count_every_symbol_once() -> None:
    import torch
    import train_dna

    class Uniform:
        def __call__(self, input_ids: torch.Tensor, use_cache: bool) -> Any:
            seen.append(input_ids.shape[1])
            return SimpleNamespace(logits=torch.zeros(1, input_ids.shape[1], 4))

    for size in (2, 63, 64, 65, 96, 97, 200):
        seen: list[int] = []
        total, count = train_dna.bits(Uniform(), [np.zeros(size, np.uint8)], 64, 32)
        assert count == size - 1 and total == pytest.approx(2 * count)
        assert max(seen) < 64


@pytest.mark.usefixtures("scripts")
def test_the_arpa_file_is_the_interpolated_model(tmp_path: Path) -> None:
    """What lmfst reads from the file is what the equation says, and sums to one."""
    import dna_data
    import make_dna_arpa as arpa

    write_genome(tmp_path / "g.gbk.gz")
    parts = dna_data.read_genome(tmp_path / "g.gbk.gz")
    train = arpa.training_texts(parts["train"])
    held = arpa.validation_texts(parts["validation"])
    write_arpa(arpa.tables(arpa.Markov(train, held), 3), tmp_path / "m.arpa")
    lm = load_lm(str(tmp_path / "m.arpa"))

    gene = parts["test"].genes[0]
    markov, texts = arpa.Markov(train, held), arpa.Texts([dna_data.document(gene)])
    for order in range(4):
        counts, weight = markov.grow()
        texts.p = texts.raised(counts, order, weight)
    spelled = "".join("ACGT"[i] for i in gene)
    assert bits_per_base(lm, spelled) == pytest.approx(texts.bits(), abs=1e-5)
    rows = np.exp(np.asarray(lm.next_logp([[], [0, 1, 2], [3, 3, 3, 3]])))
    assert rows.sum(axis=1) == pytest.approx(1, abs=1e-5)
