"""Default settings, in a module that imports nothing: the command line shows them at once."""

from __future__ import annotations

MODEL = "smollm2-135m"
BEAM = 8
THRESHOLD = 1e-4
TOLERANCE = 0.01
MOST_BEAM = 32
FIRST_THRESHOLD = 1e-2
EFFORT = 10.0
PARTICLES = 128
REPLICATES = 8
SEED = 0
NODE_BUDGET = 1_000_000
BATCH_TOKENS = 512
BATCH_DOCUMENTS = 64
BATCH_SYMBOLS = 8192
TOP = 20
MAX_UNITS = 256
