# Helm: `make up` sets everything up and serves, `make test` sets everything up and tests it. `make help` lists the rest.
# Variables: PYTHON=/path/to/python3.12 (which Python makes .venv), HELM_BASE=image (base of the agent image), UPGRADE=1 (for lock).

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup up test lint fmt bench screenshots lock compose clean
export PYTHON HELM_BASE UPGRADE
BIN := .venv/bin

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup:  ## .venv from the hashed lock, the Docker Engine, the agent image
	@HELM_GOAL=setup .ci/setup.sh run

up:  ## set up what is missing and serve; prints the dashboard's address and a login link
	@HELM_GOAL=up .ci/setup.sh run
	@exec .ci/setup.sh serve

test:  ## set up what is missing, the tests' needs too, and run every check and every test
	@HELM_GOAL=test .ci/setup.sh test
	@.ci/test.sh all

lint:  ## ruff, format, mypy --strict and the import contracts
	@HELM_GOAL=lint .ci/setup.sh dev
	@.ci/test.sh lint

fmt:  ## format the code and sort its imports
	@HELM_GOAL=fmt .ci/setup.sh dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench:  ## measure; prints the numbers (never part of the tests)
	@HELM_GOAL=bench .ci/setup.sh test
	@$(BIN)/python -m tests.bench

screenshots:  ## play the demo in a real browser and keep a picture of every page
	@HELM_GOAL=screenshots .ci/setup.sh test
	@$(BIN)/python -m tests.e2e.screenshots

lock:  ## make the requirement locks anew (UPGRADE=1: to the current releases)
	@HELM_GOAL=lock .ci/setup.sh lock

compose:  ## build the images of docker-compose.yml
	@HELM_GOAL=compose .ci/setup.sh run
	@agent_image/build-server.sh

clean:  ## remove .venv, caches and what the image was built from; never $HELM_HOME, never an image
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/helm"
	@echo "the state in $${HELM_HOME:-$$HOME/.helm} and the images helm-agent, helm-base are still there"
