# Two commands on a fresh machine with python3 (3.11 or newer), make and git:
#   make demo    trains, restores and judges on a real image
#   make test    runs the whole test suite
# Both set up .venv first, once, and again only when pyproject.toml or constraints.txt changed.

PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
READY   := $(VENV)/ready
CHECKED := $(VENV)/checked

# uv does not read pip's settings: hand on where wheels may lie (for example a CPU build of torch).
ifneq ($(strip $(PIP_FIND_LINKS)),)
comma := ,
space := $() $()
export UV_FIND_LINKS ?= $(subst $(space),$(comma),$(strip $(PIP_FIND_LINKS)))
endif

.DEFAULT_GOAL := help
.PHONY: help demo test lint site release setup fiji clean gpu-check

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(READY)  ## train, restore and judge on a real image; LOW=dir HIGH=dir AXES=ZYX for your own pairs
	$(BIN)/veriscope demo $(if $(LOW),--low '$(LOW)') $(if $(HIGH),--high '$(HIGH)') $(if $(AXES),--axes '$(AXES)')

test: lint $(CHECKED)  ## every check and the whole test suite
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered --color=no

lint: $(READY)  ## ruff and mypy only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

site: $(CHECKED)  ## the documentation as a site, in build/site; its notebooks are run
	VERISCOPE_RUN_NOTEBOOKS=true NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

release: $(CHECKED)  ## wheel and sdist in dist, checked, and tried on every Python that is here
	.ci/release $(BIN)

setup: $(READY)  ## .venv with everything in it

# The stamp is written last: a set-up that was interrupted starts again.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"veriscope needs Python 3.11 or newer, but $(PYTHON) is {v[0]}.{v[1]}. Say for example: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@rm -f $@
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.[test,vendor,movie,sharing,distributed,remote]'
	@touch $@

# A virtual display for the tests of napari and ImageJ, what Qt and OpenGL need on it; ImageJ, and a JDK for its plugin.
IJ ?= /usr/share/java/ij.jar
SCREEN := xvfb libgl1 libegl1 libopengl0 libgl1-mesa-dri libdbus-1-3 libfontconfig1 libxkbcommon-x11-0 libxcb-cursor0 \
	libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 \
	xauth openbox default-jdk libij-java

# BM3D and BM4D are free for non-commercial use only: nothing but the tests of their wrappers installs them.
$(CHECKED): $(READY)
	$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.[nonfree,napari,docs]'
	@{ command -v Xvfb && command -v javac && test -f $(IJ); } > /dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq $(SCREEN) > /dev/null; } \
		|| echo 'There is no Xvfb, JDK or ImageJ: the tests of napari or Fiji will be skipped. As root: apt-get install $(SCREEN)'
	@touch $@

gpu-check: $(READY)  ## on a machine with a CUDA GPU: speed and agreement with the processor
	$(BIN)/python benchmarks/gpu.py --record

# What ImageJ loads needs an underscore in its name. Java 8, as older Fijis have.
FIJI ?= build/fiji
fiji:  ## the plugin for Fiji and ImageJ, build/fiji/Veriscope_.jar
	@command -v javac > /dev/null && test -f $(IJ) || { echo "This needs a JDK and ImageJ. On Debian: apt-get install default-jdk libij-java. Elsewhere: make fiji IJ=path/of/ij.jar"; exit 2; }
	@rm -rf $(FIJI)/classes && mkdir -p $(FIJI)/classes
	javac --release 8 -Xlint:all,-options -Werror -encoding UTF-8 -cp $(IJ) -d $(FIJI)/classes plugins/fiji/src/veriscope/fiji/*.java
	@cp plugins/fiji/plugins.config LICENSE $(FIJI)/classes
	jar cf $(FIJI)/Veriscope_.jar -C $(FIJI)/classes .

clean:  ## remove .venv, results of the demo and what tools leave behind
	rm -rf $(VENV) demo-results .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage build dist
	find src plugins tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
