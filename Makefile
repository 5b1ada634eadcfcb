# Every command a person or CI runs. `make help` lists them.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
export UV_PYTHON_DOWNLOADS := never
MEMBERS := common services/ingest-aws services/ingest-gcp services/ingest-azure services/ingest-kafka services/ingest-k8s services/normalizer services/detector services/notifier cli

.PHONY: help setup lock fmt check test test-compose test-long test-real golden docs up down demo demo-compose bench fuzz clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.ready ## make .venv with everything in it

$(VENV)/.ready: requirements.lock requirements-uv.lock pyproject.toml $(addsuffix /pyproject.toml,$(MEMBERS))
	@deploy/local/setup.sh $(VENV) $(MEMBERS)

EXPORT := $(BIN)/uv export -q --frozen --no-emit-workspace --no-header --no-annotate --format requirements-txt

lock: ## resolve the dependencies anew into requirements.lock, and what each image needs of them
	$(BIN)/uv lock --upgrade -q
	$(EXPORT) -o requirements.lock >/dev/null
	$(EXPORT) --only-group build -o requirements-build.lock >/dev/null
	$(EXPORT) --only-group demo -o deploy/compose/requirements-demo.lock >/dev/null
	for member in $(filter-out common,$(MEMBERS)); do \
	    $(EXPORT) --no-dev --package leadsman-$${member##*/} -o $$member/requirements.lock >/dev/null || exit 1; done

fmt: setup ## format the code
	$(BIN)/ruff format -q .
	$(BIN)/ruff check -q --fix .

check: setup ## format, lint, types, arrows, pure tests, each rule's cases once: about a minute
	$(BIN)/ruff format --check -q .
	$(BIN)/ruff check -q .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -q tests/unit tests/rules tests/golden -m "not slow"
	$(BIN)/leadsman rules test --cloud native

test: setup ## all that CI runs
	$(BIN)/ruff format --check -q .
	$(BIN)/ruff check -q .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -q -n 2 --dist loadfile tests -m "not long and not real"

test-long: setup ## what takes many minutes
	$(BIN)/pytest -q tests -m long

test-real: setup ## against a real API server: KUBE_HERE_TOOLS names its scripts (tests/real/conftest.py)
	@test -f "$$KUBE_HERE_TOOLS/up.sh" || { echo "make test-real: KUBE_HERE_TOOLS must name the folder of a real API server's up.sh and down.sh; nothing was tested" >&2; exit 1; }
	$(BIN)/pytest -q tests/real -m real

test-compose: ## docker compose from nothing, scaled and broken; needs a Docker engine
	tests/compose/run.sh

golden: setup ## rewrite the golden files; read the diff
	$(BIN)/pytest -q tests/golden tests/rules/test_proofs.py tests/rules/test_recorded.py --golden-write

docs: setup ## rewrite the generated pages of docs/, the chart's made parts and the dashboard; read the diff
	@for page in docs/tables docs/events docs/rules docs/coming-from docs/costs deploy/helm/generate deploy/grafana/generate docs/asyncapi; do $(BIN)/python $$page.py || exit 1; done

up: setup ## Kafka and Redis on loopback, topics created
	@$(BIN)/python deploy/local/stack.py up

down: ## stop what `make up` started
	@test ! -x $(BIN)/python || $(BIN)/python deploy/local/stack.py down

demo: setup ## the whole stream, an attack on two clouds, alerts
	@$(BIN)/python deploy/local/demo/run.py $(ARGS)

demo-compose: ## the same with Docker alone, on the stack of deploy/compose
	@deploy/compose/demo.sh

fuzz: setup ## every source, FUZZ_SECONDS (30) each; every cut of 100 events
	@$(BIN)/python tests/fuzz/run.py

bench: setup ## what each hop costs, in one run, as JSON
	@$(BIN)/python bench/run.py $(ARGS)

clean: down
	rm -rf .run .cache
