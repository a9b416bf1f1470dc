# make demo   generate, train and listen on CPU; then open demo_output/
# make test   the tests (ARGS="tests/test_x.py -k y" picks some), two at a time
# make judges what `evaluate` needs beyond that, but for PyTorch: see README
# make lint   the checks that .ci/run makes before the tests
# make format rewrite the code as lint wants it
# make lock   resolve requirements/ anew, to the newest versions
# make clean  remove what the above made
#
# Each makes .venv first, from hash-locked requirements. PYTHON=python3.12 picks
# the interpreter.

PYTHON ?= python3
# Processes that run tests; a file's tests stay together, and share what they made.
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
UV := $(BIN)/uv
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 \
  --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url

.PHONY: demo test judges lint format lock clean

demo: $(READY)
	$(BIN)/python -m soundstorm_jax.demo --output=demo_output

test: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

judges: $(READY)
	$(UV) pip install --quiet --python $(BIN)/python --compile-bytecode \
	  --no-deps --require-hashes --requirement requirements/eval.lock

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(READY)
	$(LOCK) --no-build-isolation --extra dev setup.py \
	  --output-file requirements/cpu.lock
	$(LOCK) --no-build-isolation --extra tpu setup.py \
	  --output-file requirements/tpu.lock
	$(LOCK) --no-build-isolation --extra eval setup.py \
	  --override requirements/eval.overrides \
	  --constraint requirements/cpu.lock --output-file requirements/eval.lock
	echo uv | $(LOCK) - --output-file requirements/uv.lock

clean:
	rm -rf $(VENV) build demo_output *.egg-info .pytest_cache .ruff_cache

# The stamp is written last, so an interrupted installation starts over. uv
# installs in a tenth of pip's time, and compiling at once spares the first run
# of each program a minute of it.
$(READY): Makefile setup.py requirements/cpu.lock requirements/uv.lock
	@command -v $(PYTHON) > /dev/null || { \
	  echo "$(PYTHON) is not found: install Python 3.11-3.13, or name one:" \
	    "make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit( \
	  None if (3, 11) <= sys.version_info < (3, 14) else \
	  "$(PYTHON) is Python %d.%d; 3.11-3.13 is needed: " \
	  "make PYTHON=python3.12 ..." % sys.version_info[:2])'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --require-hashes --requirement requirements/uv.lock
	$(UV) pip install --quiet --python $(BIN)/python --compile-bytecode \
	  --require-hashes --requirement requirements/cpu.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps \
	  --no-build-isolation --editable .
	@touch $(READY)
