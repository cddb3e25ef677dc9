"""Documents scored, their records, and rows made of them. Bits exist only here,
and in what `lmfst.report` makes of rows.

Files and formats are `lmfst.io`'s business.
"""

from lmfst.scored.levels import Levels
from lmfst.scored.records import Scored
from lmfst.scored.scorer import Scorer

__all__ = ["Levels", "Scored", "Scorer"]
