# Needs Python 3.11 or newer with pip and venv, and make. Everything else goes into .venv.

PYTHON    ?= python3
VENV      := .venv
BIN       := $(VENV)/bin
# What `make demo` compares: make demo DEMO_NFE=5,10
DEMO_ARGS ?= ill-conditioned ring digits
DEMO_METHODS ?= ddim,heun,dpm-solver-2,dpm++2m,dpm++3m,deis-tab-3,unipc-3,euler-maruyama,ancestral,sde-dpm++2m
DEMO_NFE  ?= 5,10,20,50
DEMO_OUT  ?= demo-out
# Extra words for pytest: make test PYTEST_ARGS="-k plan"
PYTEST_ARGS ?=
WORKERS   ?= 2
# Peers to measure against, and the little that their samplers import; their training stacks stay
# out (k_diffusion.sampling needs a stub for k_diffusion.utils). They live in .venv-bench only.
PEERS     := diffusers k-diffusion azula
PEERS_USE := einops huggingface_hub importlib_metadata regex requests safetensors
BENCH_ARGS ?=

PIP       := -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt
STAMP     := $(VENV)/.stamp
DOCSTAMP  := $(VENV)/.stamp-docs
BENCH     := .venv-bench
BENCHSTAMP := $(BENCH)/.stamp

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help env demo test lint format slow docs bench clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /|/' | \
		while IFS='|' read -r name text; do printf '  make %-8s %s\n' "$$name" "$$text"; done

env: $(STAMP) ## create .venv with everything that users and tests need

# torch is asked for by its exact pin, so that pip takes a CPU build where one lies at hand.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sgmsolve needs Python 3.11 or newer, but $(PYTHON) is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12")'
	@echo "Installing sgmsolve and the pinned versions in constraints.txt into $(VENV) (some minutes the first time) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(PIP) setuptools wheel
	@$(BIN)/python $(PIP) --no-build-isolation "$$(grep -m 1 '^torch==' constraints.txt)" --editable '.[all]'
	@touch $@

$(DOCSTAMP): $(STAMP)
	@echo "Installing the documentation tools into $(VENV) ..."
	@$(BIN)/python $(PIP) --no-build-isolation --editable '.[all,docs]'
	@touch $@

# A small environment on top of .venv: the peers never reach the environment of the tests.
$(BENCHSTAMP): $(STAMP) Makefile
	@echo "Installing the peers ($(PEERS)) into $(BENCH) ..."
	@$(BIN)/python -m venv $(BENCH)
	@$(BENCH)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > $@.site
	@$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> "$$(cat $@.site)/sgmsolve_venv.pth"
	@$(BENCH)/bin/python $(PIP) $(PEERS_USE)
	@$(BENCH)/bin/python $(PIP) --no-deps $(PEERS)
	@touch $@

demo: $(STAMP) ## compare methods on three problems and write a report to demo-out/
	$(BIN)/sgmsolve compare $(DEMO_ARGS) --methods $(DEMO_METHODS) --nfe $(DEMO_NFE) --out $(DEMO_OUT) --force

lint: $(STAMP) ## ruff (rules and formatting) and mypy
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo "Not formatted as above; run: make format"; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/mypy problems

format: $(STAMP) ## let ruff format and fix what it safely can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

test: lint ## lint, then the fast tests
	@$(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS)

slow: $(STAMP) ## the slow tests only
	@$(BIN)/python -m pytest -n $(WORKERS) --slow -m slow $(PYTEST_ARGS)

docs: $(DOCSTAMP) ## build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(BENCHSTAMP) ## install the peers beside .venv and run benchmarks/run.py
	$(BENCH)/bin/python benchmarks/run.py $(BENCH_ARGS)

clean: ## remove everything that was made, the environments too
	rm -rf $(VENV) $(BENCH) build dist site $(DEMO_OUT) *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find sgmsolve problems tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
