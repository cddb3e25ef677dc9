"""lmfst: exact language models over other units, by finite-state transduction.

The public Python API is re-exported lazily, so that `import lmfst` stays cheap: a name is imported
from its module when it is first used.

Importing it before torch makes torch's idle threads sleep instead of spin (see `_share`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lmfst.ground._version import __version__

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from lmfst.ensemble import Ensemble, EnsembleState
    from lmfst.fst import Fst
    from lmfst.generate.decode import Decoded, decode
    from lmfst.generate.drawn import Drawn
    from lmfst.generate.sample import sample
    from lmfst.ground.document import Document
    from lmfst.ground.errors import (
        BudgetError,
        FstError,
        GrammarError,
        InputError,
        LmfstError,
        ModelError,
        UsageError,
    )
    from lmfst.inference.policy import Beam, Exact, Tolerance
    from lmfst.inference.sampling import Sample
    from lmfst.inference.states import State, advance_all
    from lmfst.lm.base import LM
    from lmfst.lm.load import load_lm
    from lmfst.model import TransducedLM, load
    from lmfst.scored.records import Scored
    from lmfst.scored.string_model import Bounds
    from lmfst.target import Acceptor, Target, load_target, load_within
    from lmfst.target.prompts import Prompt
    from lmfst.vocab import Vocab, vocab_from_symbols, vocab_from_tokenizer

__all__ = [
    "LM",
    "Acceptor",
    "Beam",
    "Bounds",
    "BudgetError",
    "Decoded",
    "Document",
    "Drawn",
    "Ensemble",
    "EnsembleState",
    "Exact",
    "Fst",
    "FstError",
    "GrammarError",
    "InputError",
    "LmfstError",
    "ModelError",
    "Prompt",
    "Sample",
    "Scored",
    "State",
    "Target",
    "Tolerance",
    "TransducedLM",
    "UsageError",
    "Vocab",
    "__version__",
    "advance_all",
    "decode",
    "load",
    "load_lm",
    "load_target",
    "load_within",
    "sample",
    "vocab_from_symbols",
    "vocab_from_tokenizer",
]

_HOMES = {
    "LM": "lmfst.lm.base",
    "Acceptor": "lmfst.target",
    "Beam": "lmfst.inference.policy",
    "Bounds": "lmfst.scored.string_model",
    "Decoded": "lmfst.generate.decode",
    "Document": "lmfst.ground.document",
    "Drawn": "lmfst.generate.drawn",
    "Ensemble": "lmfst.ensemble",
    "EnsembleState": "lmfst.ensemble",
    "Exact": "lmfst.inference.policy",
    "Fst": "lmfst.fst",
    "Prompt": "lmfst.target.prompts",
    "Sample": "lmfst.inference.sampling",
    "Scored": "lmfst.scored.records",
    "State": "lmfst.inference.states",
    "Target": "lmfst.target",
    "Tolerance": "lmfst.inference.policy",
    "TransducedLM": "lmfst.model",
    "Vocab": "lmfst.vocab",
    "advance_all": "lmfst.inference.states",
    "decode": "lmfst.generate.decode",
    "load": "lmfst.model",
    "load_lm": "lmfst.lm.load",
    "load_target": "lmfst.target",
    "load_within": "lmfst.target",
    "sample": "lmfst.generate.sample",
    "vocab_from_symbols": "lmfst.vocab",
    "vocab_from_tokenizer": "lmfst.vocab",
}


def _share(environment: MutableMapping[str, str]) -> None:
    """Let idle threads of OpenMP sleep, unless the user has said what they shall do.

    By default they spin for a while, in case there is work again at once. Where other processes
    want the processors, that is time taken from threads that have work: two processes on two cores
    took ten times as long as one. The runtime reads its settings once, when torch is loaded;
    processes that are started from here inherit them.
    """
    if not any(name in environment for name in _WAITING):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"


_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_share(os.environ)


def __getattr__(name: str) -> object:
    """A public name, from the module that defines it; AttributeError for any other."""
    if name not in __all__:
        raise AttributeError(f"module 'lmfst' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES.get(name, "lmfst.ground.errors")), name)
    # Kept, so that the next use is an ordinary look-up.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """What tab completion offers: the public names before they are imported, too."""
    return sorted({*globals(), *__all__})
