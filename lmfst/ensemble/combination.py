"""Several distributions over the next symbol as one.

Of models i with weights w_i, which sum to 1, and a string y of target symbols, whose probability is
the product of those of its symbols, the end ⊥ included:

- *mixture*: p(a | y) = Σ_i w_i p_i(a | y), the linear interpolation of language models. A model
  that gives y probability zero says nothing of what follows; the others have its weight.
- *product*: p(a | y) = Π_i p_i(a | y)^w_i / Z(y), the geometric mean, with Z(y) = Σ_a Π_i p_i(a |
  y)^w_i: normalised a symbol at a time (a product of the models' strings would need a sum over all
  strings). It gives a symbol probability zero where any model does.
- *mixture of strings*: p(y) = Σ_i w_i p_i(y), one model drawn once for the whole string. So
  p(a | y) = Σ_i π_i(y) p_i(a | y), where the weights π_i(y) ∝ w_i P_i(y) follow how well each model
  has predicted y. It is no product of fixed mixtures, and its prefix probability is
  P(y) = Σ_i w_i P_i(y).

Sources: Jelinek and Mercer 1980 (interpolation); Hinton 2002 (products of experts); for models with
different tokenizers, in one alphabet: Phan et al., "Exact Byte-Level Probabilities from Tokenized
Language Models for FIM-Tasks and Model Ensembles", arXiv 2410.09303.

What is missing: where a model lacks a share m_i of its probability at a place (see
`lmfst.inference.accuracy`), a mixture lacks Σ_i r_i m_i there to first order, r_i the share that
model i has of the probability of the symbol (of the whole string, in a mixture of strings). Of a
product Σ_i w_i m_i is reported. Its numerator lacks that; but to first order so does Z, and the
quotient is right; where what was dropped would have gone on otherwise than the rest, the product is
off by about as much, in either direction. That is all an estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmfst.ground.arrays import Bools, Floats, Ints
from lmfst.ground.types import How

Following = tuple[Ints, Floats]
"""Symbols int64 [n], in order, and their logp float64 [n], nats."""
NOTHING: Following = (np.zeros(0, dtype=np.int64), np.zeros(0))


@dataclass(frozen=True)
class Combination:
    """How models are combined, and their weights, above 0 and with the sum 1."""

    how: How
    weights: tuple[float, ...]

    @property
    def is_local(self) -> bool:
        """Whether a string's probability is made of those of its symbols; else of the models'
        probabilities of the whole string."""
        return self.how != "mixture-of-strings"

    @property
    def needs_following(self) -> bool:
        """Whether a symbol's probability depends on those of all others."""
        return self.how == "product"

    @property
    def _logw(self) -> Floats:
        """Log weights [models, 1]."""
        logw: Floats = np.log(np.array(self.weights))[:, None]
        return logw

    def next_symbols(self, logp: Floats, parts: Sequence[Following]) -> Following:
        """The distribution of the next symbol after a string y; empty if there is none.

        logp: [models], log P_i(y), not all of them -inf. parts: the models' distributions,
        `NOTHING` of those that give y probability zero.
        """
        symbols, table = _aligned(parts)
        if self.how == "product":
            found = self._weighted(table) - self._log_normaliser(table)
        else:
            shares = self._logw + (logp[:, None] if self.how == "mixture-of-strings" else 0.0)
            shares = np.where(logp[:, None] > -np.inf, shares, -np.inf)
            found = _total(shares + table) - _total(shares)
        possible = found > -np.inf
        symbols, found = symbols[possible], found[possible]
        # What several callers get mustn't be changed by one of them.
        symbols.flags.writeable = found.flags.writeable = False
        return symbols, found

    def product(self, own: Floats, parts: Sequence[Following]) -> float:
        """log p of a symbol in a product, of the models' log p_i of it [models], all of them above
        -inf, and their distributions."""
        return float(self._weighted(own[:, None])[0] - self._log_normaliser(_aligned(parts)[1]))

    def _weighted(self, table: Floats) -> Floats:
        """log Π_i p_i^w_i [n], of log p_i [models, n]."""
        found: Floats = (np.array(self.weights)[:, None] * table).sum(axis=0)
        return found

    def _log_normaliser(self, table: Floats) -> float:
        """log Z of a product; 0 where it has no symbols, which all have probability zero then."""
        total = float(np.logaddexp.reduce(self._weighted(table), initial=-np.inf))
        return total if total > -np.inf else 0.0

    def whole(self, logp: Floats) -> Floats:
        """log P of strings in a mixture of strings [n], of log P_i [models, n]."""
        return _total(self._logw + logp)

    def steps(self, logp: Floats) -> tuple[Floats, Floats]:
        """log p of each symbol of a string in a mixture [N], and the models' shares in it [models,
        N]; of log P_i [models, N + 1] of its prefixes."""
        before, after = logp[:, :-1], logp[:, 1:]
        possible = before > -np.inf
        own = np.full(after.shape, -np.inf)
        np.subtract(after, before, out=own, where=possible)
        joint, total = self._logw + own, _total(np.where(possible, self._logw, -np.inf))
        step = np.full(after.shape[1], -np.inf)
        np.subtract(_total(joint), total, out=step, where=total > -np.inf)
        return step, _shares(joint)

    def shares(self, logp: Floats) -> Floats:
        """The models' shares in strings of a mixture of strings [models, n], of log P_i."""
        return _shares(self._logw + logp)

    def missing(self, missing: Floats, shares: Floats | None) -> Floats:
        """What is missing of something [n] of which [models, n] is missing in the models. shares:
        theirs in it; None: their weights, as in products. inf where a model has lost all."""
        by = np.array(self.weights)[:, None] if shares is None else shares
        lost = np.isinf(missing)
        found: Floats = (by * np.where(lost, 0.0, missing)).sum(axis=0)
        return np.where(lost.any(axis=0), np.inf, found)

    def lost(self, possible: Bools, missing: Floats) -> Floats:
        """The same where the probability is zero: 0 where it is truly zero, else inf.

        possible: [models, n], whether a model gives it a probability above 0. A zero of a model is
        one where nothing is missing; one such makes a product zero, a mixture all of them.
        """
        true = ~possible & (missing == 0.0)
        truly = true.any(axis=0) if self.how == "product" else true.all(axis=0)
        return np.where(truly, 0.0, np.inf)


def _total(logs: Floats) -> Floats:
    """log Σ exp over models, the first axis."""
    found: Floats = np.logaddexp.reduce(logs, axis=0)
    return found


def _shares(joint: Floats) -> Floats:
    """Shares of models that sum to 1, of their log weights; 0 where all are -inf."""
    total = _total(joint)
    found = np.full(joint.shape, -np.inf)
    np.subtract(joint, total, out=found, where=total > -np.inf)
    shares: Floats = np.exp(found)
    return shares


def _aligned(parts: Sequence[Following]) -> tuple[Ints, Floats]:
    """The symbols of several distributions, in order [n], and their logp [models, n]."""
    symbols = np.unique(np.concatenate([part[0] for part in parts]))
    table = np.full((len(parts), len(symbols)), -np.inf)
    for row, (own, logp) in zip(table, parts, strict=True):
        row[np.searchsorted(symbols, own)] = logp
    return symbols, table
