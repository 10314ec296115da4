# make results   set up and regenerate every result       make env    set up only
#                (make results QUIET=1: only errors and the summary at the end)
# make test      set up and run the tests                 make lint   style and type checks
# make test-long the tests of many minutes                make audit  known vulnerabilities
# make test-slurm  a real SLURM for the time of its tests: as root on Debian, installs slurm-wlm
# make -B env REQUIREMENTS=envs/requirements-v100.txt    with torch for V100 (or -cpu); -B: anew, as
#                nothing is done where an environment is there

VENV := .venv
REQUIREMENTS := envs/requirements.txt
BIN := $(VENV)/bin
READY := $(VENV)/.ready
AUDIT := .venv-audit
PIP_AUDIT := pip-audit==2.10.1

# Every job is a process of its own; without bytecode each would compile the project anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: results test test-long test-slurm env lint audit lock docs

results: env
	$(if $(QUIET),HONES_QUIET=1) $(BIN)/snakemake --cores all --quiet $(if $(QUIET),all,rules host)

test: env
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -rs \
		--ignore tests/long --ignore tests/slurm

test-long: env
	$(BIN)/python -m pytest -n 2 -rs tests/long

test-slurm: env
	$(BIN)/python tests/slurm/single_node.py \
		$(BIN)/python -m pytest -n 2 --dist loadfile -rs tests/slurm

env: $(READY)

# pip compiles on one core only. Packages hold files for other Pythons too, which is no error.
$(READY): envs/requirements.txt $(REQUIREMENTS) envs/make_venv.sh
	sh envs/make_venv.sh $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-compile -r $(REQUIREMENTS)
	$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	touch $@

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

# In an environment of its own, so that the lock does not hold what only the audit needs. Fails only
# if something is vulnerable: what could not be looked up (status 2) is said in a box of "#".
audit:
	sh envs/make_venv.sh $(AUDIT)
	$(AUDIT)/bin/python -m pip install --disable-pip-version-check -q --retries 1 --timeout 5 \
		$(PIP_AUDIT) || true
	$(AUDIT)/bin/python envs/audit.py || test $$? -eq 2

# The full lock, from the environment that `make env` and the tests have proved, and all files that
# are made from it. Needs a CPU build of torch: GPU builds bring packages that CPUs cannot use.
lock:
	$(BIN)/python -m pip install -q -r envs/requirements.in
	$(BIN)/python -m pip freeze --all --exclude pip --exclude-editable | sed 's/+cpu$$//' \
		> envs/requirements.txt
	$(BIN)/python envs/make_envs.py

docs: env
	$(BIN)/python -m hones_core.docs
