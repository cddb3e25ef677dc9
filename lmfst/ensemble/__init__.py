"""Ensembles: several transduced models in one target alphabet, whatever their tokenizers, as one.

What each of them says of a string is `lmfst.model`'s business.
"""

from lmfst.ensemble.model import Ensemble
from lmfst.ensemble.states import EnsembleState

__all__ = ["Ensemble", "EnsembleState"]
