# Everything a developer does with this project. Each target makes the environment first, or finds it ready.
#   make train   make test   make slow   make lab   make docs   make sync   make configs   make readme   make pages   make sidebar   make reference   make env
PYTHON = python3
VENV = .venv
RUN = $(VENV)/bin
MODELS = xgboost,lightgbm,catboost,random_forest,logistic,svm

.POSIX:
.PHONY: help env train test slow lab docs pages format sync configs readme sidebar reference

help:
	@echo "make train    train on the embedded S&P 500 and Nasdaq bars and print the leaderboards"
	@echo "make test     check, test every notebook, run the tests; ends with: N passed, N failed"
	@echo "make slow     the cells and tests that are too long for every commit"
	@echo "make lab      JupyterLab on the notebooks"
	@echo "make pages    run the pages whose pictures are older than their code, and store what they show"
	@echo "make docs     the pages: rendered where Quarto is installed, proved without it otherwise"
	@echo "make sync     export the notebooks to the package and clean them"
	@echo "make configs  write the shipped configurations from the models' defaults"
	@echo "make readme   write README.md from nbs/index.ipynb"
	@echo "make sidebar  write the site's navigation and the page of reference from nbs/contents.yml"
	@echo "make reference  write the pages of all commands and all models"
	@echo "make format   format pages, tests and tools as the checks expect it"
	@echo "make env      only the environment, in $(VENV)"

env:
	@$(PYTHON) tools/make_env.py $(VENV)

train: env
	@# empty: compiled modules are kept, or every model's process would compile the libraries anew
	PYTHONDONTWRITEBYTECODE= $(RUN)/lineupiq train --data sp500 --horizon 5,20 --model $(MODELS)

test: env
	@$(RUN)/python tools/run_tests.py

slow: env
	@$(RUN)/python tools/run_tests.py --slow

lab: env
	cd nbs && PYTHONDONTWRITEBYTECODE= ../$(RUN)/jupyter lab

docs: env
	@$(RUN)/python tools/make_docs.py

pages: env
	@$(RUN)/python tools/make_pages.py

format: env
	@$(RUN)/python tools/format_code.py

sync: env
	@PATH="$$PWD/$(RUN):$$PATH"; nbdev_export && nbdev_clean

configs: env
	@$(RUN)/python tools/make_configs.py

readme: env
	@$(RUN)/python tools/make_readme.py

sidebar: env
	@$(RUN)/python tools/make_sidebar.py

reference: env
	@$(RUN)/python tools/make_commands.py && $(RUN)/python tools/make_models.py
