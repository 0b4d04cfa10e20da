# Short names for what a person would type.
.PHONY: setup chain test benchmark lint format lock clean

setup:            ## a virtual environment with the pinned packages
	python3 -m venv .venv && .venv/bin/pip install -r requirements.lock

chain:            ## prepare → pretrain → fine-tune → evaluate
	dvc pull data.dvc && dvc repro

test:             ## the default test suite
	pytest

benchmark:        ## all measurements, into benchmarks/results.json and the README; about an hour
	python benchmarks/run.py

lint:
	ruff check . && ruff format --check . && mypy

format:
	ruff check --fix . && ruff format .

lock:             ## pin the newest versions that pyproject.toml allows
	uv pip compile pyproject.toml --extra dev --universal --generate-hashes --python-version 3.11 --no-header --quiet --upgrade -o requirements.lock

clean:            ## what can be made again
	rm -rf prepared runs outputs .pytest_cache .mypy_cache .ruff_cache
