"""The parts of scripts/bench.py.

Every engine runs in a process of its own (`lmfst_worker`, `plain_worker`, `genlm_worker`), which
answers requests on its standard input (`serving`). The benchmark's own process only asks, so that
engines with different dependencies can take turns and each one's peak memory is its own.
"""
