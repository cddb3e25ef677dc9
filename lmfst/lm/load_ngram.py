"""N-gram models of ARPA files, made ready: their tables and their vocabulary."""

from __future__ import annotations

from lmfst.ground.errors import UsageError
from lmfst.ground.types import Specials, Warn
from lmfst.lm.arpa import read_arpa
from lmfst.lm.backoff import BackoffLM
from lmfst.lm.specials import refuse_specials
from lmfst.lm.sums import warn_of_sums
from lmfst.vocab import vocab_from_symbols
from lmfst.vocab.words import NO_MARKS, separator_of


def load_ngram(
    name: str,
    *,
    bos: str,
    specials: Specials,
    warn: Warn,
    separator: str | None = None,
    marks: str = NO_MARKS,
    sums: bool = True,
) -> BackoffLM:
    """The n-gram model of a file; arguments as of `lmfst.lm.load.load_lm`.

    sums: warn of probabilities that don't sum to 1. UsageError for another `bos`.
    """
    if bos not in ("auto", "none", "<s>"):
        raise UsageError(f"--bos of an n-gram model is auto, none or <s>, not {bos!r}")
    separator = separator_of(separator, marks)
    model = read_arpa(name, warn=warn)
    vocab = vocab_from_symbols(
        model.names,
        eos=model.eos_ids,
        specials=specials,
        separator=separator,
        marks=marks,
        warn=warn,
    )
    refuse_specials(specials, vocab, name)
    if sums:
        warn_of_sums(model, vocab, name, warn)
    begins = bos == "<s>" or (bos == "auto" and model.bos_id is not None)
    facts = {"model": name, "revision": None, "separator": separator, "marks": marks}
    return BackoffLM(model, vocab, bos=begins, facts=facts)
