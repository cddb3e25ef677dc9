"""The algorithm: queries in, results out. Engines and policies, hypotheses, rows, prefetching.

What models are (`lmfst.lm`) and what symbols of a target mean (`lmfst.target`) is not known here.
"""

from lmfst.inference.engine import Engine, engine_for
from lmfst.inference.policy import Beam, Exact, Policy, Tolerance
from lmfst.inference.query import Query
from lmfst.inference.results import Propagated
from lmfst.inference.sampling import Sample
from lmfst.inference.setting import Setting

__all__ = [
    "Beam",
    "Engine",
    "Exact",
    "Policy",
    "Propagated",
    "Query",
    "Sample",
    "Setting",
    "Tolerance",
    "engine_for",
]
