"""Whether the rows of an n-gram model are distributions, and a warning where they are not.

Toolkits write models whose probabilities after a context sum to more or less than 1 (pruned or
mixed ones, backoff weights of another model). Rows are divided by their sums, as every model's are,
so what is computed then differs from what the file says.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lmfst.lm.ngram import BOS, NgramLM
from lmfst.vocab import Vocab

TOLERANCE = 3e-3
"""How far from 1 a sum may be: numbers rounded to four digits or more stay within it."""


def warn_of_sums(model: NgramLM, vocab: Vocab, name: str, warn: Callable[[str], None]) -> None:
    """Warn with the largest deviation, if sums over all words but `<s>` are not 1.

    Contexts that no text has (words outside the support, or after the end) don't count, nor those
    after which nothing is possible: whoever meets one raises.
    """
    sums = model.sums()
    counted = _possible(model, vocab) & (sums > 0.0)
    off = counted & (np.abs(sums - 1.0) > TOLERANCE)
    if not off.any():
        return
    states = np.flatnonzero(off)
    worst = int(states[np.abs(np.log(sums[states])).argmax()])
    context = " ".join(model.names[token] for token in model.context(worst))
    place = f"after {context!r}" if context else "where no context is known"
    warn(
        f"{name}: the probabilities of all words but {BOS} don't sum to 1 in {len(states)} of "
        f"{int(counted.sum())} contexts, the farthest being {sums[worst]:.4g} {place}; they are "
        "divided by their sums, so the model is another one than the file says"
    )


def _possible(model: NgramLM, vocab: Vocab) -> np.ndarray:
    """Which states stand for contexts that a text can have: bool [n_states]."""
    spelled = np.zeros(vocab.size, dtype=bool)
    for table in vocab.token_bytes:
        spelled |= np.array([text is not None for text in table])
    return model.possible(spelled)
