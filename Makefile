# `make` alone says what there is. PYTHON chooses the interpreter (3.11 or newer), VENV where it installs, PYTEST_ARGS
# what pytest is given beside, GPU_ARGS what benchmarks/gpu.py is.
PYTHON ?= python3
PYTEST_ARGS ?=
GPU_ARGS ?=
VENV ?= .venv
BIN := $(VENV)/bin
QUICKSTART := sweeps/quickstart.toml
SLURM := slurmctld slurmd slurm-client munge slurmdbd mariadb-server
# One process more than cores: a third of the suite's time is waiting for the processes that it starts.
PYTEST = $(BIN)/python -m pytest -n 3 $(PYTEST_ARGS)

.PHONY: help quickstart test test-sweeps test-long test-hf test-track test-engines check gpu lint coverage clean

help: ## these lines
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile

quickstart: $(VENV)/.installed ## install, train 140 small transformers, write a report: about 3 minutes on two cores, 21 without a C++ compiler
	$(BIN)/isoflop plan $(QUICKSTART)
	$(BIN)/isoflop run $(QUICKSTART)
	$(BIN)/isoflop fit $(QUICKSTART)
	$(BIN)/isoflop report $(QUICKSTART) --out report

test: $(VENV)/.installed-test ## the suite but for what has two targets of its own
	$(PYTEST) -m "not sweep and not long"

test-sweeps: $(VENV)/.installed-test ## whole sweeps in processes that are killed, stopped, starved of disk and memory
	$(PYTEST) -m "sweep and not long" tests/engine tests/faults tests/pilots

test-long: $(VENV)/.installed-test ## those: storms of kills, torch's compiler, ranks, a rehearsal of what needs a GPU
	$(PYTEST) -m long

test-hf: $(VENV)-hf/.installed ## exported models in transformers, lm-evaluation-harness and gguf, offline: a minute; in an environment of its own
	$(VENV)-hf/bin/python -m pytest tests/hf tests/corpus/test_corpus_hugging_face.py

test-track: $(VENV)-track/.installed ## TensorBoard, Weights & Biases and MLflow, offline: half a minute; in an environment of its own
	$(VENV)-track/bin/python -m pytest tests/track

test-engines: $(VENV)-ray/.installed ## sweeps and faults on a real Slurm and a real Ray of this machine: about 3 minutes; installs Debian's packages as root, skips elsewhere
	@dpkg -s $(SLURM) > /dev/null 2>&1 || { [ `id -u` = 0 ] && apt-get update -qq \
		&& DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(SLURM); } > /dev/null 2>&1 \
		|| echo "Not Debian, no root or no network: what needs Slurm skips."
	$(VENV)-ray/bin/python -m pytest -n 3 -m cluster tests/clusters

check: lint ## linters, types and the tests that are not slow: under 10 minutes on two cores
	$(PYTEST) -m "not slow"

gpu: $(VENV)/.installed-test ## everything that needs a GPU, measured: planned for 12 minutes on an H100 (GPU_ARGS=--rehearse: on a CPU)
	$(BIN)/python benchmarks/gpu.py $(GPU_ARGS)

lint: $(VENV)/.installed-test ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

coverage: PYTEST_ARGS += --cov --cov-report=term:skip-covered
coverage: test ## the same with lines and branches counted, and the floor of pyproject.toml

$(VENV)/.installed: pyproject.toml setup.py isoflop/train/native/step.cc constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "isoflop needs Python 3.11 or newer: make PYTHON=python3.x")'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[test]'
	touch $@

# Beside the packages of the first environment, which these three read: neither torch nor isoflop is installed again.
BESIDE = $(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
	> `$(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'`/other_environment.pth
TEST_HF := 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["test-hf"], sep="\n")'

$(VENV)-hf/.installed: $(VENV)/.installed-test
	test -x $(@D)/bin/pip || $(PYTHON) -m venv $(@D)
	$(BESIDE)
	$(BIN)/python -c $(TEST_HF) > $(@D)/requirements.txt
	$(@D)/bin/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -r $(@D)/requirements.txt
	touch $@

$(VENV)-track/.installed: $(VENV)/.installed-test
	test -x $(@D)/bin/pip || $(PYTHON) -m venv $(@D)
	$(BESIDE)
	$(@D)/bin/python -m pip install --disable-pip-version-check --quiet -c constraints.txt mlflow-skinny tensorboard wandb
	touch $@

$(VENV)-ray/.installed: $(VENV)/.installed-test
	test -x $(@D)/bin/pip || $(PYTHON) -m venv $(@D)
	$(BESIDE)
	$(@D)/bin/python -m pip install --disable-pip-version-check --quiet -c constraints.txt ray
	touch $@

clean: ## what the targets made here, but no sweep
	rm -rf $(VENV) $(VENV)-hf $(VENV)-track $(VENV)-ray build *.egg-info isoflop/train/native/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
