"""What follows a prefix: the next unit and its probability, also where units are words; strings
drawn from a model; and counts of units.

How the distribution of the next symbol is summed up is `lmfst.inference`'s business.
"""

from lmfst.generate.counts import Counts
from lmfst.generate.drawn import Drawn
from lmfst.generate.next_units import following

__all__ = ["Counts", "Drawn", "following"]
