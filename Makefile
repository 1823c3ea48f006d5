# make image PROMPT="a green frog on a yellow background"   draw a picture
# make test                                      lint, types, import floors, tests
# Each sets itself up in .venv at its first run.

PYTHON ?= python3.11
PROMPT ?= a green frog on a yellow background
SIZE ?= 1024
SEED ?= 0
BIN := .venv/bin

.PHONY: image test lint clean

image: .venv/.runtime
	@$(BIN)/openimagen generate "$$PROMPT" --size $(SIZE) --seed $(SEED) --out out
image: export PROMPT := $(value PROMPT)

test: .venv/.dev lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --ignore tests/serve
	$(BIN)/python -m pytest tests/serve  # by itself: a browser and clients that wait

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@! $(BIN)/python -m pip show --quiet torchvision 2>/dev/null || \
		{ echo "torchvision is in .venv: transformers cannot load beside it; remove it"; exit 1; }

clean:
	rm -rf .venv out

.venv/bin/python:
	$(PYTHON) -m venv .venv || { \
		rm -rf .venv; \
		echo "python3-venv is missing, installing it"; \
		SUDO=$$([ "$$(id -u)" = 0 ] || echo sudo); \
		$$SUDO apt-get update -q && $$SUDO apt-get install -qy python3-venv && \
		$(PYTHON) -m venv .venv; }

.venv/.runtime: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[safety,provenance]'
	@touch $@

.venv/.dev: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ .venv/.runtime
