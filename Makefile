# Every target needs only Python 3.10 or newer and the package index: no compiler, no ffmpeg, no GPU.
# `make help` lists them.

PYTHON ?= python3
LOGS ?= runs
SONGS ?= runs/realistic-songs
ARGS ?=
UV ?= uv
# PyTorch's own index of builds without CUDA. On Linux the package index has only the CUDA build, which is several GB.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -c constraints.txt
WSA := $(BIN)/python -m wsa_lightning

.DEFAULT_GOAL := help
.PHONY: help fit test bench bench-full lint teacher control ship compare songs-realistic tensorboard install constraints clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  PYTHON=python3.12        the Python that .venv is made with (now: $(PYTHON))"
	@echo "  ARGS='--data.root PATH'  more options for the command behind fit, control and teacher, or for pytest"

fit: .venv/.installed  ## the main job: distil the shipped teacher into a student with a window of 16 and 4 sinks
	$(WSA) fit --config configs/wsa_w16_s4.yaml $(ARGS)

control: .venv/.installed  ## the control run: fine-tune the teacher by the same steps, full attention kept
	$(WSA) fit --config configs/control.yaml $(ARGS)

teacher: .venv/.installed  ## train the small teacher from scratch on 224 composed songs
	$(WSA) data make runs/teacher/songs --songs 224 --seconds 12 --seed 1
	$(WSA) fit --config configs/teacher.yaml --data.root runs/teacher/songs $(ARGS)

ship: .venv/.installed  ## put the finished teacher and student runs into the package, in half precision
	$(BIN)/python experiments/shipped/ship.py runs/teacher small-teacher
	$(BIN)/python experiments/shipped/ship.py runs/wsa_w16_s4 small

compare: .venv/.installed  ## set the finished runs under LOGS (runs) side by side: table, Pareto front, a report to listen to
	$(WSA) compare $(LOGS) $(ARGS)

songs-realistic: .venv/.installed-songs  ## make 392 realistic songs under SONGS, hours; needs Debian's packages
	nice $(BIN)/python -m experiments.realistic_songs $(SONGS) $(ARGS)

tensorboard: .venv/.installed  ## show the curves of every run under LOGS (runs)
	$(BIN)/python -m tensorboard.main --logdir $(LOGS)

test: .venv/.installed-dev  ## run the test-suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope $(ARGS)

bench: .venv/.installed-bench  ## speed and memory beside full attention and the peer packages, some minutes
	$(BIN)/python benchmarks/attention.py
	$(BIN)/python benchmarks/model.py --bf16
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/length.py

bench-full: .venv/.installed-bench  ## the same at Kim's size and up to 10 minutes of audio
	$(BIN)/python benchmarks/attention.py --rows 6001:1 12001:1 24001:1 --name attention_long
	$(BIN)/python benchmarks/model.py --sizes kim --bf16 --rounds 2 --name model_kim
	$(BIN)/python benchmarks/training_step.py --size kim --seconds 2 --batch 1 --rounds 2 --name training_step_kim
	$(BIN)/python benchmarks/length.py --seconds 8 30 120 600 --name length_full

lint: .venv/.installed-dev  ## ruff's checks and formatting, and mypy
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

install: .venv/.installed-dev  ## make .venv with everything, the tests' tools included, and run nothing

constraints:  ## bring constraints.txt in line with pyproject.toml (needs uv; ARGS=--upgrade takes newer versions)
	$(UV) pip compile pyproject.toml --extra dev --universal --python-version 3.10 --annotation-style line \
		--custom-compile-command 'make constraints' --output-file constraints.txt $(ARGS)

clean:  ## remove .venv, caches and build leftovers; runs/ stays
	rm -rf .venv build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -type d -name __pycache__ -prune -exec rm -rf {} +

# The stamps are written last, so that an interrupted install is taken up again by the next `make`.
.venv/.installed: pyproject.toml constraints.txt
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
			echo "Python 3.10 or newer is needed, and $(PYTHON) is not that; name another: make PYTHON=python3.12 ..." >&2; \
			exit 1; }; \
		echo "Making .venv with $$($(PYTHON) --version)"; \
		$(PYTHON) -m venv --clear .venv; }
	@trap 'exit 130' INT; \
	if [ "$$(uname -s)" = Linux ] && ! nvidia-smi -L 2>/dev/null | grep -q GPU; then \
		echo "No NVIDIA GPU here: installing PyTorch's CPU build"; \
		$(PIP) --no-deps --index-url $(TORCH_CPU_INDEX) --timeout 15 --retries 0 torch 2>/dev/null || { \
			echo "No CPU build to be had from $(TORCH_CPU_INDEX): installing the package index's build instead"; \
			$(PIP) torch; }; \
	else \
		$(PIP) torch; \
	fi
	@echo "Installing wsa-lightning and what it needs, about 80 packages"
	@$(PIP) --quiet --editable .
	@touch $@
	@$(BIN)/python -c 'from importlib.metadata import version as v; print("Installed: torch", v("torch"), "and lightning", v("lightning"))'

.venv/.installed-bench: .venv/.installed
	@echo "Installing the peer packages to measure against"
	@$(PIP) --quiet --editable '.[parity]'
	@touch $@

.venv/.installed-songs: .venv/.installed
	@echo "Installing what realistic songs are made with; two of the packages need a C++ compiler"
	@$(PIP) --quiet --editable '.[songs]'
	@touch $@

.venv/.installed-dev: .venv/.installed
	@echo "Installing the tests' tools"
	@$(PIP) --quiet --editable '.[dev]'
	@touch $@
