"""Settings for all tests: offline, quiet, torch on one thread, without time limits on single
hypothesis examples."""

from __future__ import annotations

import gc
import os

from hypothesis import settings

# Set before any test imports transformers, which reads them once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Numbers are those of a processor; CUDA_VISIBLE_DEVICES=0 runs tests on a GPU.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# Before any test imports torch; the processes that tests start have it, too.
os.environ["OMP_NUM_THREADS"] = "1"

# A shared machine makes single examples slow now and then; that is no failure.
settings.register_profile("lmfst", deadline=None, print_blob=True)
settings.load_profile("lmfst")

# Libraries hold hundreds of thousands of objects that stay to the end, and are looked through in
# vain whenever garbage is collected.
gc.set_threshold(100_000, 20, 100)
