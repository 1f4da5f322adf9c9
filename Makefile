# Everything that is done with this repository. `make` alone lists it.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory --no-builtin-rules

PYTHON ?= python3
# Programs of the virtual environment, found by the recipes' programs, too.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

# Images of containers set it. Without compiled files each run of the tests compiles them again, which takes seconds.
unexport PYTHONDONTWRITEBYTECODE

installed := .venv/.installed
bench_installed := .venv/.bench-installed
scan_installed := .venv-scan/.installed
# What is deployed has to be built by the same version of Python, and is best tested on it, too.
runtime = $(or $(RUNTIME),$(shell .venv/bin/python -c 'import sys; print("python%d.%d" % sys.version_info[:2])'))
ARCHITECTURE ?= arm64
target = Runtime=$(runtime) Architecture=$(ARCHITECTURE)
# The user's AWS settings are for `make deploy` alone: a profile that is not there would stop what needs no account.
without_aws_settings = env $(patsubst %,-u %,$(filter AWS_%,$(.VARIABLES))) \
  AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_DEFAULT_REGION=us-east-1 SAM_CLI_TELEMETRY=0
# As Lambda puts them on the path.
with_layers = PYTHONPATH=layers/common:layers/dummy_stripe:.
lock := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header
# Strict: a package that the index says nothing of counts as audited otherwise.
pip_audit := .venv-scan/bin/pip-audit --strict --require-hashes --disable-pip

# A step of the setup, told like those of `make run`: what it is, and how long it took. On a slow line it may be minutes.
# On standard error, because `make -s token` has nothing but the token on its output.
step = @printf '… %s\n' '$(1)' >&2; started=$$(date +%s); { $(2); } >&2 && \
  printf '✓ %-62s %5d s\n' '$(1)' $$(($$(date +%s) - started)) >&2

.PHONY: help setup run token event sam-local sam-invoke check test fuzz bench openapi event-schemas lint imports scan vulnerabilities format build deploy lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

setup: $(installed) ## Create .venv with all requirements
	@: # Nothing to say where it is there already.

$(installed): requirements-bootstrap.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed. Name one: make PYTHON=python3.12 $(MAKECMDGOALS)' >&2; exit 1; }
	$(call step,Make .venv,$(PYTHON) -m venv .venv)
	$(call step,Install uv,.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	  -r requirements-bootstrap.txt)
	$(call step,Install all that is needed here (requirements-dev.txt),uv pip install --quiet \
	  --python .venv/bin/python --require-hashes -r requirements-dev.txt)
	@touch $@

run: $(installed) ## Run the whole stack on this machine until Ctrl-C (PORT=3000)
	@exec python -m local run --with-parent

token: $(installed) ## Print a token for the running stack (SUB=alice ROLES=buyer,seller EXP=-60)
	@exec python -m local token

event: $(installed) ## Send an event of the dummy Stripe to the webhook (ORDER=ord_… TYPE=payment_intent.succeeded)
	@exec python -m local event

sam-local: $(installed) ## Run `sam local start-api`, with Docker or Podman, on the tables of `make run` (PORT=3001)
	@exec python -m local sam-local --with-parent

sam-invoke: $(installed) ## Run `sam local invoke` of one function with its event (FUNCTION=create_order)
	@exec python -m local sam-invoke

test: $(installed) ## Run every test
	@# A stack that does not start fails every module anew: what comes after so many failures says nothing more.
	@exec python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --maxfail=20

check: $(installed) ## Run the tests that need no stack: unit tests, and the contract on the functions alone
	@exec python -m pytest -n 2 --dist worksteal -m 'not over_http and not slow' tests/unit tests/contract

fuzz: $(installed) ## Run the property-based tests for a long time
	@HYPOTHESIS_PROFILE=fuzz exec python -m pytest -n 2 tests/engine/test_properties.py tests/end_to_end/test_strangers.py

bench: $(bench_installed) ## Measure time, requests, capacity and price against their limits (ARGS='--only warm --quick')
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

scan: $(scan_installed) ## Scan the templates and the pipeline for security problems (.checkov.yaml lists the exceptions)
	@python -m delivery render .local/rendered
	.venv-scan/bin/checkov --config-file .checkov.yaml -d .local/rendered -d delivery -d .github
	cfn-lint --regions eu-central-1 -- delivery/github.yaml

vulnerabilities: $(scan_installed) ## Check all requirements for known vulnerabilities (asks the package index)
	$(pip_audit) -r requirements-scan.txt
	@# Apart from the scanners, which pin another boto3: pip-audit takes one version of a package at a time.
	$(pip_audit) $(addprefix -r ,$(filter-out requirements-scan.txt,$(wildcard requirements*.txt functions/*/requirements.txt layers/*/requirements.txt)))

$(scan_installed): requirements-scan.txt $(installed)
	@$(PYTHON) -m venv .venv-scan
	$(call step,Install the scanners (requirements-scan.txt),uv pip install --quiet \
	  --python .venv-scan/bin/python --require-hashes -r requirements-scan.txt)
	@touch $@

format: $(installed) ## Format the code
	ruff check --fix .
	ruff format .

build: $(installed) ## Build for AWS (default: the Python of .venv, arm64; RUNTIME=python3.13 ARCHITECTURE=x86_64)
	@$(without_aws_settings) sam build --parameter-overrides $(target)
	@python -m delivery package .aws-sam/build/template.yaml --runtime $(runtime)

release = python -m delivery release --runtime $(runtime) --architecture $(ARCHITECTURE)

deploy: $(installed) ## Build and deploy to AWS (CONFIG_ENV=dev PARAMETERS="Name=value …", secrets in PARAMETERS_FILE=…)
	@$(release) --check
	@$(MAKE) build
	@exec $(release)

lock: $(installed) ## Update the pinned requirements (UPGRADE=--upgrade for newer versions)
	$(lock) $(UPGRADE) requirements-bootstrap.in -o requirements-bootstrap.txt
	$(lock) $(UPGRADE) requirements-dev.in -o requirements-dev.txt
	$(lock) $(UPGRADE) requirements-scan.in -o requirements-scan.txt
	$(lock) $(UPGRADE) -c requirements-dev.txt requirements-bench.in -o requirements-bench.txt
	@# What the functions run on is what the tests ran on.
	@set -e; for requirements in functions/*/requirements.in layers/*/requirements.in; do \
	  echo "$(lock) $$requirements"; \
	  $(lock) -c requirements-dev.txt "$$requirements" -o "$${requirements%.in}.txt"; \
	done

clean: ## Remove everything that was built or installed
	rm -rf .venv .venv-scan .local .aws-sam .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find functions layers command_line delivery operations local harness tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
