# camlib: `make` lists the targets. Everything else follows from the rules below.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help

PROFILE ?= auto
override PROFILE := $(or $(strip $(PROFILE)),auto)
ifneq ($(words $(PROFILE)),1)
$(error PROFILE is '$(PROFILE)'; expected one name)
endif
PYTHON ?= python3
OUT := reports/$(PROFILE)
VENV := .venv
ifdef CONDA
# The active environment as it is (environment.yml), found on PATH.
ifndef CONDA_PREFIX
$(error CONDA=1, but no conda environment is active: conda activate camlib)
endif
BIN :=
READY :=
else
BIN := $(VENV)/bin/
READY := $(VENV)/.installed
endif
PY := $(BIN)python
CAMLIB := $(BIN)camlib
UV := $(or $(shell command -v uv 2>/dev/null),.uv/bin/uv)
# What a run leaves in a notebook beside its text: counts, pictures, outputs of all cells but those tagged keep_output.
STRIP := $(BIN)nbstripout --extra-keys "metadata.papermill metadata.language_info \
  cell.metadata.papermill cell.metadata.editable cell.metadata.slideshow"
# Settings of this shell must not reach the notebooks' kernels.
unexport PYTHONPATH PYTHONHOME MPLBACKEND JUPYTER_PATH

.PHONY: FORCE help setup lab check-lab reproduce planned test sample references readme evidence example lint data bench clean test-opencv4 git-filter

help: ## show this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "%-16s%s\n", $$1, $$2 }'
	@echo; echo "PROFILE= chooses the data of 'make reproduce':"
	@echo "auto            each notebook takes the first of these whose data and weights are there (the default)"
	@awk -F '"' '/^[a-z-]+:/ { split($$1, name, ":"); printf "%-16s%s; %s\n", name[1], $$2, $$4 }' params/profiles.yml

setup: $(READY) ## make .venv with the locked packages (every target does this by itself)

$(READY): requirements.lock pyproject.toml
	@if [ "$(UV)" = .uv/bin/uv ] && [ ! -x .uv/bin/uv ]; then $(PYTHON) -m venv .uv && .uv/bin/python -m pip install --quiet uv; fi
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
ifeq ($(TORCH),cpu)
	VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --torch-backend cpu --no-verify-hashes --constraints requirements.lock \
	  setuptools -r pyproject.toml --extra dev
else
	VIRTUAL_ENV=$(VENV) $(UV) pip sync --quiet --require-hashes requirements.lock
endif
	VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@$(MAKE) --no-print-directory git-filter
	@touch $@

# What a run in JupyterLab leaves in a notebook is no change for git (.gitattributes); without the program git takes all.
git-filter:
	@if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then \
	  git config filter.notebooks.clean 'if command -v $(BIN)nbstripout >/dev/null; then $(STRIP); else cat; fi'; fi

lab: $(READY) ## open the quickstart in JupyterLab (ARGS=--no-browser for a remote machine)
	$(BIN)jupyter lab --LabApp.default_url=/lab/tree/notebooks/00_quickstart.ipynb \
	  --ContentsManager.post_save_hook=camlib.report.saving.refresh_index $(ARGS)

check-lab: $(READY) ## drive the quickstart in JupyterLab with Chromium, print how fast it redraws
	$(PY) -m pytest -q tests/check_lab.py

reproduce: $(READY) ## run every notebook and build reports/PROFILE/index.html (GPUS=4: train on so many)
	@$(CAMLIB) plan '$(PROFILE)'
	@$(if $(filter-out 1,$(GPUS)),$(PY) -m torch.distributed.run --standalone --nproc-per-node '$(GPUS)' -m camlib train '$(PROFILE)')
	@$(CAMLIB) hold '$(OUT)' -- $(MAKE) --no-print-directory planned PROFILE='$(PROFILE)'
	@echo "report: $(OUT)/index.html"

# What `camlib plan` chose to run; the summary comes last, it reads what the others wrote.
PLANNED := $(patsubst %.params.yml,%,$(wildcard $(OUT)/*.params.yml))
SUMMARY := $(OUT)/90_summary
EXPERIMENTS := $(filter-out $(SUMMARY),$(PLANNED))
PAGES := $(wildcard $(addprefix camlib/report/,pages.py cells.py grids.py templates/*))

planned: $(OUT)/index.html

# Nothing that ran is deleted because its page could not be rendered.
.PRECIOUS: $(PLANNED:=.ipynb)

# The plan of a notebook changes when its cells, its parameters, the code or the lock do; nothing else makes it run again.
$(PLANNED:=.ipynb): $(OUT)/%.ipynb: $(OUT)/%.params.yml
	@$(CAMLIB) run notebooks/$*.ipynb --out $(OUT) --params $<

# A notebook whose JSON or figure was deleted runs again.
WRITING := $(filter $(patsubst notebooks/%.ipynb,$(OUT)/%,$(shell grep -l 'exp[.]write' notebooks/*.ipynb)),$(PLANNED))
DELETED := $(foreach name,$(WRITING),$(if $(and $(wildcard $(name).json),$(wildcard $(name).png)),,$(name).ipynb))
$(DELETED): FORCE
FORCE:

$(SUMMARY).ipynb: $(EXPERIMENTS:=.ipynb)

# `run` renders what it ran; this is for pages whose looks changed, that were deleted, or that could not be rendered then.
$(PLANNED:=.html): %.html: %.ipynb $(PAGES)
	@for from in $^; do [ $@ -nt $$from ] || { $(CAMLIB) render $<; exit; }; done

$(OUT)/index.html: $(PLANNED:=.html)
	@$(CAMLIB) index $(OUT)

test: $(READY) lint ## lint, unit tests, the notebooks through nbval, the mini report built and checked
	$(PY) -m pytest -q tests
	$(PY) -m pytest -q -p no:cacheprovider --nbval-lax --nbval-current-env --nbval-cell-timeout=900 --nbval-sanitize-with tests/nbval_sanitize.cfg notebooks/
	@$(MAKE) --no-print-directory reproduce PROFILE=mini
	$(PY) -m pytest -q tests/check_report.py
	@data="$${CAMLIB_DATA:-}"; if [ -d "$${data/#\~/$$HOME}/ILSVRC2012_img_val" ]; then $(MAKE) --no-print-directory sample; fi

SAMPLE := --out reports/sample -s report_dir=../reports/sample --params reports/pretrained
LITE0 := {label: EfficientNet-Lite0, model: efficientnet_lite0, weights: bundled, paper_row: GoogLeNet-GAP}
BACKPROP := {label: EfficientNet-Lite0, model: efficientnet_lite0, weights: bundled, against: EfficientNet-Lite0, paper_row: Backprop on GoogLeNet, class_row: ""}

sample: $(READY) ## a reduced run of the profile pretrained, checked
	@$(CAMLIB) plan pretrained
	@$(CAMLIB) run notebooks/01_ilsvrc_localization.ipynb $(SAMPLE)/01_ilsvrc_localization.params.yml \
	  -s 'networks=[$(LITE0)]' -s crops_networks=[] -s crops_images=20 -s gradient_images=5 \
	  -s 'backprop=[$(BACKPROP)]'
	@$(CAMLIB) run notebooks/04_fine_grained.ipynb $(SAMPLE)/04_fine_grained.params.yml
	@$(CAMLIB) run notebooks/05_action_objects.ipynb $(SAMPLE)/05_action_objects.params.yml
	$(PY) -m pytest -q tests/check_sample.py

references: $(READY) ## run the notebooks with their defaults and keep the outputs that nbval compares
	set -e; for notebook in notebooks/[0-9]*.ipynb; do \
	  $(BIN)papermill --log-level ERROR --no-progress-bar --cwd notebooks $$notebook $$notebook; done
	$(STRIP) notebooks/[0-9]*.ipynb

readme: $(READY) ## write the generated parts of README.md, data/README.md and docs/results.md
	@$(CAMLIB) readme

evidence: $(READY) ## run the kept runs of docs/results again (RUN=profile: that one, new or again)
	@$(CAMLIB) evidence $(if $(RUN),--run $(RUN))

example: $(READY) ## docs/example: three notebooks as Markdown, for readers who run nothing
	@$(CAMLIB) run notebooks/00_quickstart.ipynb --out reports/example \
	  --set 'data={dataset: bundled-photos, split: all, n: 4}'  # their licences allow copies
	@for name in 02_gap_vs_gmp 06_scene_objects; do \
	  $(CAMLIB) run notebooks/$$name.ipynb --out reports/example; done
	@$(CAMLIB) example reports/example

lint: $(READY) ## ruff and mypy
	$(BIN)ruff check .
	$(BIN)ruff format --check .
	$(BIN)mypy

data: $(READY) ## say which datasets are there (camlib data get NAME gets one)
	@$(CAMLIB) data

bench: $(READY) ## speed as ratios, each measured in one run (docs/benchmarks.md keeps some)
	@set -e; cat benchmarks/about.md; for script in benchmarks/*.py; do echo; $(PY) $$script; done

test-opencv4: $(READY) ## caffemodels against OpenCV 4's own Caffe reader, in an environment of its own
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv-opencv4
	VIRTUAL_ENV=.venv-opencv4 $(UV) pip install --quiet 'opencv-python-headless<5' numpy
	CAMLIB_OPENCV4=$(abspath .venv-opencv4/bin/python) $(PY) -m pytest -q -m opencv4 tests/test_caffe.py

clean: ## remove reports, caches and checkpoints, and say how much (raw data and .venv stay)
	@made="$${CAMLIB_CACHE:-data}"; made="$${made/#\~/$$HOME}"; \
	for folder in "$$made/cache" "$$made/checkpoints" reports/*/; do \
	  if [ -d "$$folder" ]; then du -sh "$$folder" | sed 's/^/removed: /'; rm -rf "$$folder"; fi; done
