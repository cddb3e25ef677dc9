"""What follows a prefix: the next unit and its probability, also where units are words.

How the distribution of the next symbol is summed up is `lmfst.inference`'s business.
"""

from lmfst.generate.next_units import following

__all__ = ["following"]
