"""Documents scored, their records, and rows made of them. Bits exist only here.

Files and formats are `lmfst.io`'s business.
"""

from lmfst.scored.levels import Levels
from lmfst.scored.records import Scored
from lmfst.scored.scorer import Scorer

__all__ = ["Levels", "Scored", "Scorer"]
