"""lmfst: exact language models over other units, by finite-state transduction.

The public Python API is re-exported lazily, so that `import lmfst` stays cheap.
"""

from __future__ import annotations

__version__ = "0.1.0"
