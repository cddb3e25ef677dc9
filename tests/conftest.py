"""Settings for all tests: offline, quiet, torch on one thread, without time limits on single
hypothesis examples."""

from __future__ import annotations

import os

from hypothesis import settings

# Set before any test imports transformers, which reads them once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Before any test imports torch; the processes that tests start have it, too.
os.environ["OMP_NUM_THREADS"] = "1"

# A shared machine makes single examples slow now and then; that is no failure.
settings.register_profile("lmfst", deadline=None, print_blob=True)
settings.load_profile("lmfst")
