# A clean machine needs python3.11 (or newer) and make. Everything lands in .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: test-slow install install-test demo lint types unit-plain unit-train unit-ray test bench-data bench-serve soak-serve bench-eval bench-cluster bench-scale bench-tune clean bench-train

install: $(VENV)/.installed                ## .venv with the medclm command

install-test: $(VENV)/.installed-test

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt torch torchvision
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[test]'
	touch $@

demo: install                              ## the whole chain on phantom radiographs
	$(BIN)/medclm demo --out demo-out

lint:
	$(BIN)/ruff check medclm tests bench
	$(BIN)/ruff format --check medclm tests bench

types:
	$(BIN)/mypy

unit-plain:                                ## the tests without Ray
	$(BIN)/pytest --part plain

unit-train:                                ## the tests that train with Ray
	$(BIN)/pytest tests/train --part train --durations=5

unit-ray:                                  ## the others that start Ray
	$(BIN)/pytest --part ray --durations=5

test: install-test                         ## ruff, mypy and every test, side by side
	$(MAKE) --no-print-directory -j3 unit-train unit-ray unit-plain lint types

test-slow: install-test                    ## the tests that would take `make test` past eight minutes
	$(BIN)/pytest -m slow

bench-data: install-test                   ## the data build against its rivals; writes bench-data.json
	$(BIN)/python bench/data.py $(BENCH)

bench-serve: install-test                  ## serving against `transformers serve`; writes bench-serve.json
	$(BIN)/python bench/serve.py $(BENCH)

soak-serve: install-test                   ## kills replicas and proxies under load; looks for lost answers and growing memory
	$(BIN)/python bench/soak_serve.py $(SOAK)

bench-eval: install-test                   ## an evaluation against bare batched generate; writes bench-eval.json
	$(BIN)/python bench/eval.py $(BENCH)

bench-cluster: install-test                ## jobs on several nodes, killed under them; writes bench-cluster.json
	$(BIN)/python bench/cluster.py $(BENCH)

bench-scale: install-test                  ## the tables of docs/scale.md again, from bench/scale.json
	$(BIN)/python bench/scale.py

bench-tune: install-test                   ## early stopping against the full grid, found against untuned; bench-tune.json
	$(BIN)/python bench/tune.py $(BENCH)

clean:
	rm -rf demo-out build dist bench-*.json

bench-train: install-test                  ## training against a bare loop, TRL and eager attention; writes bench-train.json
	$(BIN)/python bench/train.py $(BENCH)
