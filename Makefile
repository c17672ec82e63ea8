# Every command of this project. `make` lists them.
VENV ?= .venv
export VENV
PY := $(VENV)/bin/python
export HF_HUB_OFFLINE := 1

# The run that `make validate` and `make package` are about.
RUN_OF = $(or $(RUN),$$(scripts/newest_run.sh $(or $(CHARACTER),$(error Name a CHARACTER or a RUN))))

.DEFAULT_GOAL := help
.PHONY: help demo serve train-lora validate package regression nightly check test test-full chaos test-host limits bench bench-lint bench-host kohya screenshots lint clean

help:  ## List the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

demo:  ## Train a LoRA inside a real ComfyUI, from prompt to picture, and name what it made
	@scripts/install.sh pack host
	@$(PY) -m scripts.demo

serve:  ## Open the same ComfyUI for a person (PORT=8188)
	@scripts/install.sh pack optim host
	@$(PY) -m scripts.serve --port $(or $(PORT),8188)

train-lora:  ## Train a character: CHARACTER=herbalist [BASE=model.safetensors]
	@scripts/install.sh pack
	@scripts/train_lora.sh $(or $(CHARACTER),$(error Name it: make train-lora CHARACTER=herbalist))

validate:  ## Check and render a character's newest run: CHARACTER=herbalist, or RUN=id
	@scripts/install.sh pack
	@$(PY) -m kohya_bridge validate $(RUN_OF) $(VALIDATE)

package:  ## Package a character's newest run: CHARACTER=herbalist, or RUN=id
	@scripts/install.sh pack
	@$(PY) -m kohya_bridge package $(RUN_OF) $(PACKAGE)

regression:  ## Render the reference workflow with and without a LoRA and compare with the last time: LORA=name
	@scripts/install.sh pack host
	@$(PY) -m scripts.regression --lora $(or $(LORA),$(error Name it: make regression LORA=alice/name.safetensors))

nightly:  ## Lint every dataset, check configs, options and example workflows
	@scripts/install.sh pack
	@$(PY) -m scripts.nightly

check:  ## Ruff, mypy, and every test that starts no process with torch, ComfyUI or a browser
	@scripts/test.sh check

test:  ## Install what the tests need and run all that CI runs, a real ComfyUI and a real browser included
	@scripts/test.sh

test-full:  ## Full-size SD 1.5 and SDXL shapes with random weights: memory and seconds per step
	@scripts/install.sh pack optim host test
	@$(PY) -m pytest -m full -s

limits:  ## What must be done in so many milliseconds: on a quiet machine, apart from the other tests
	@scripts/install.sh pack optim host test
	@$(PY) -m pytest -m limits -s

test-host:  ## Train every family through the models of another ComfyUI: COMFYUI_DIR=/path/to/ComfyUI
	@scripts/install.sh pack optim host test
	@COMFYUI_DIR=$(or $(COMFYUI_DIR),$(error Name it: make test-host COMFYUI_DIR=/path/to/ComfyUI)) $(PY) -m pytest tests/host_models -m "host or full"

chaos:  ## Hurt runs, folders, data sets, readers and disks on purpose (CHAOS="kills --seed 2 --count 50"); python -m scripts.chaos --help
	@scripts/install.sh pack test
	@$(PY) -m scripts.chaos $(or $(CHAOS),all)

bench:  ## Seconds per step, split up; beside sd-scripts where that is set up
	@scripts/install.sh pack optim
	@$(PY) -m scripts.bench

bench-lint:  ## How fast lint is on 1,000 pictures, and how much of that is decoding them
	@scripts/install.sh pack
	@$(PY) -m scripts.bench_lint $(LINT)

bench-host:  ## How fast ComfyUI answers while 20 pages look at 3,000 runs, beside 20 that ask for its own queue
	@scripts/install.sh pack optim host test
	@$(PY) -m scripts.bench_host

kohya:  ## Set up the sd-scripts engine: submodule and .venv-kohya
	@scripts/setup_kohya.sh

screenshots:  ## Take the pictures of docs/ in the real frontend, and draw those of the example workflows
	@scripts/install.sh pack optim host test
	@$(PY) -m scripts.screenshots
	@$(PY) -m scripts.draw_thumbnails

lint:  ## ruff, mypy, and what nothing calls
	@scripts/install.sh pack test
	@scripts/lint.sh

clean:  ## Remove what was installed and cached; runs and datasets stay
	rm -rf $(VENV) .cache .pytest_cache .ruff_cache .mypy_cache build
	@echo "Kept: .comfy (the demo's ComfyUI folder with its runs), training, .venv-kohya."
