"""The canonical path: a text in the tokens that the model's tokenizer makes of it.

    log P_X(x) = Σ_i log p_X(x_i | x_{<i}) + log p_X(EOS | x),    x = tokenize(text)

That is what is commonly reported as the log-probability of a text. It is one term of the sum over
all token strings, so never above it. A beam finds it on its way (`lmfst.trunk`); this is for the
other policies.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmfst.lm.base import LM
from lmfst.rows import Normaliser


def canonical_logps(
    lm: LM, normalise: Normaliser, texts: Sequence[bytes | None]
) -> list[float | None]:
    """log P_X of each text's own tokens and the end, nats; None where there are none.

    normalise: takes the tokens outside the support out of rows.
    """
    session = lm.session()
    roots: dict[int, int] = {}
    states: list[int] = []
    reads: list[tuple[int, list[int]]] = []
    ends = list(lm.vocab.eos)
    for at, text in enumerate(texts):
        tokens = None if text is None else lm.canonical(text)
        if tokens is None:
            continue
        state = roots[at] = session.open()
        for token in tokens:
            states.append(state)
            reads.append((at, [token]))
            state = int(session.step(np.array([state]), np.array([token]))[0])
        states.append(state)
        reads.append((at, ends))
    totals = dict.fromkeys(roots, 0.0)
    if states:
        for block, rows in session.rows(np.array(states, dtype=np.int64)):
            lse, _ = normalise(rows)
            for (at, tokens), row, log_total in zip(reads[block], rows, lse, strict=True):
                totals[at] += float(row[tokens].double().logsumexp(0) - log_total)
    for root in roots.values():
        session.close(root)
    return [totals.get(at) for at in range(len(texts))]
