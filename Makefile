# All tasks of this repository. `make` lists them.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory --no-builtin-rules

PYTHON ?= python3
python_version = $(shell $(1) -c 'import sys; print("python%d.%d" % sys.version_info[:2])' 2>/dev/null)
# Recipes and the programs that they start use the virtual environment.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

# Container images often set it. Without bytecode files, each test run spends seconds on compiling.
unexport PYTHONDONTWRITEBYTECODE

installed := .venv/.installed
bench_installed := .venv/.bench-installed
scan_installed := .venv-scan/.installed
# The build must run on the Python version that is deployed, and so should the tests.
runtime = $(or $(RUNTIME),$(call python_version,.venv/bin/python))
ARCHITECTURE ?= arm64
target = Runtime=$(runtime) Architecture=$(ARCHITECTURE)
# Only `make deploy` uses the user's AWS settings. An unknown profile would fail commands that need no account.
without_aws_settings = env $(patsubst %,-u %,$(filter AWS_%,$(.VARIABLES))) \
  AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_DEFAULT_REGION=us-east-1 SAM_CLI_TELEMETRY=0
# Lambda also puts the layers on the path.
with_layers = PYTHONPATH=layers/common:layers/dummy_stripe:.
lock := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header
# --strict: otherwise a package that the index does not know counts as audited.
pip_audit := .venv-scan/bin/pip-audit --strict --require-hashes --disable-pip

# Print a setup step and its duration like `make run` does, on standard error: `make -s token` prints only the token on
# standard output.
step = @printf '… %s\n' '$(1)' >&2; started=$$(date +%s); { $(2); } >&2 && \
  printf '✓ %-62s %5d s\n' '$(1)' $$(($$(date +%s) - started)) >&2

.PHONY: help setup run stripe token event sam-local sam-invoke check test fuzz bench openapi event-schemas lint imports scan vulnerabilities format build deploy lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

setup: $(installed) ## Create .venv with all requirements
	@: # Silent if .venv is up to date.

# `make test PYTHON=python3.12` replaces a .venv of another version.
ifneq ($(origin PYTHON),file)
ifneq ($(call python_version,$(PYTHON)),$(call python_version,.venv/bin/python))
.PHONY: $(installed)
venv_options := --clear
endif
endif

$(installed): requirements-bootstrap.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || \
	  { echo 'Python 3.11 to 3.14 is required. Choose one: make PYTHON=python3.12 $(MAKECMDGOALS)' >&2; exit 1; }
	$(call step,Create .venv,$(PYTHON) -m venv $(venv_options) .venv)
	$(call step,Install uv,.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	  -r requirements-bootstrap.txt)
	$(call step,Install the requirements (requirements-dev.txt),uv pip install --quiet \
	  --python .venv/bin/python --require-hashes -r requirements-dev.txt)
	@touch $@

run: $(installed) ## Run the whole stack on this machine until Ctrl-C (PORT=3000 PERSIST=1)
	@exec python -m local run --with-parent

stripe: $(installed) ## Serve the dummy Stripe alone over HTTP until Ctrl-C (PORT=12111 STATE=file)
	@exec env PYTHONPATH=layers/dummy_stripe python -m dummy_stripe $(if $(PORT),--port '$(PORT)') $(if $(STATE),--state '$(STATE)')

token: $(installed) ## Print a token for the running stack (SUB=alice ROLES=buyer,seller EXP=-60)
	@exec python -m local token

event: $(installed) ## Send a dummy Stripe event to the webhook (ORDER=ord_… TYPE=payment_intent.succeeded)
	@exec python -m local event

sam-local: $(installed) ## Run `sam local start-api` in Docker or Podman, on the tables of `make run` (PORT=3001)
	@exec python -m local sam-local --with-parent

sam-invoke: $(installed) ## Invoke one function with its sample event by `sam local invoke` (FUNCTION=create_order)
	@exec python -m local sam-invoke

test: $(installed) ## Run all tests
	@# --maxfail: a stack that does not start fails every module, so more failures add no information.
	@exec python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --maxfail=20

check: $(installed) ## Run the tests that need no stack: unit tests, and contract tests on moto
	@exec python -m pytest -n 2 --dist worksteal -m 'not over_http and not slow' tests/unit tests/contract

fuzz: $(installed) ## Run the property-based tests with many more examples
	@HYPOTHESIS_PROFILE=fuzz exec python -m pytest -n 2 tests/engine/test_properties.py tests/end_to_end/test_api_fuzzing.py

bench: $(bench_installed) ## Measure latency, requests, capacity and price against limits (ARGS='--only warm --quick')
	@exec python -m bench $(ARGS)

$(bench_installed): requirements-bench.txt $(installed)
	@uv pip install --quiet --python .venv/bin/python --require-hashes -r requirements-bench.txt
	@touch $@

openapi: $(installed) ## Generate docs/openapi.json from the functions
	@exec python -m delivery openapi

event-schemas: $(installed) ## Generate docs/events from the models
	@exec python -m delivery event-schemas

lint: $(installed) ## Check style, types, imports and the template
	ruff check .
	ruff format --check .
	mypy
	$(with_layers) lint-imports --no-logo
	@$(without_aws_settings) sam validate --lint

imports: $(installed) ## Print the import graph in the DOT language of Graphviz
	@$(with_layers) import-linter drawgraph order_payments

scan: $(scan_installed) ## Scan templates and pipeline for security problems (.checkov.yaml lists the exceptions)
	@python -m delivery render .local/rendered
	.venv-scan/bin/checkov --config-file .checkov.yaml -d .local/rendered -d delivery -d .github
	cfn-lint --regions eu-central-1 -- delivery/github.yaml

vulnerabilities: $(scan_installed) ## Check all requirements for known vulnerabilities (queries the package index)
	$(pip_audit) -r requirements-scan.txt
	@# A second run: the scanners pin another boto3, and pip-audit accepts one version of a package per run.
	$(pip_audit) $(addprefix -r ,$(filter-out requirements-scan.txt,$(wildcard requirements*.txt functions/*/requirements.txt layers/*/requirements.txt)))

$(scan_installed): requirements-scan.txt $(installed)
	@$(PYTHON) -m venv --clear .venv-scan
	$(call step,Install the scanners (requirements-scan.txt),uv pip install --quiet \
	  --python .venv-scan/bin/python --require-hashes -r requirements-scan.txt)
	@touch $@

format: $(installed) ## Format the code
	ruff check --fix .
	ruff format .

build: $(installed) ## Build for AWS (default: Python of .venv, arm64; RUNTIME=python3.13 ARCHITECTURE=x86_64)
	@$(without_aws_settings) sam build --parameter-overrides $(target)
	@python -m delivery package .aws-sam/build/template.yaml --runtime $(runtime)

release = python -m delivery release --runtime $(runtime) --architecture $(ARCHITECTURE)

deploy: export SAM_CLI_TELEMETRY = 0
deploy: $(installed) ## Build and deploy to AWS (CONFIG_ENV=dev PARAMETERS="Name=value …", secrets in PARAMETERS_FILE=…)
	@$(release) --check
	@$(MAKE) build
	@exec $(release)

lock: $(installed) ## Update the pinned requirements (UPGRADE=--upgrade for newer versions)
	$(lock) $(UPGRADE) requirements-bootstrap.in -o requirements-bootstrap.txt
	$(lock) $(UPGRADE) requirements-dev.in -o requirements-dev.txt
	$(lock) $(UPGRADE) requirements-scan.in -o requirements-scan.txt
	$(lock) $(UPGRADE) -c requirements-dev.txt requirements-bench.in -o requirements-bench.txt
	@# The functions get the versions that the tests ran with.
	@set -e; for requirements in functions/*/requirements.in layers/*/requirements.in; do \
	  echo "$(lock) $$requirements"; \
	  $(lock) -c requirements-dev.txt "$$requirements" -o "$${requirements%.in}.txt"; \
	done

clean: ## Delete everything that was built or installed
	rm -rf .venv .venv-scan .local .aws-sam .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	rm -rf layers/dummy_stripe/build layers/dummy_stripe/dummy_stripe.egg-info
	find functions layers command_line delivery operations local harness tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
