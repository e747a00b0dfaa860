# make demo [PROMPT="two dogs beside a house"]   a picture in out/, without a GPU or PyTorch
# make test                                      every test of this machine's kind, in its own environment
# make full-size                                 Stable Diffusion 1.5's shapes: 15 minutes, 16 GB of memory
# make kernels                           every CUDA kernel for every GPU architecture (needs nvcc, no GPU)
# make lint, make format, make sanitize, make fuzz   what CI checks besides

PYTHON ?= python3
PROMPT ?= two dogs beside a house under a tree with a kite and the sun
DEMO_VENV := .venv-demo
TEST_VENV := .venv-test
SOURCES := pyproject.toml CMakeLists.txt $(wildcard cpp/*/*.* cpp/*/*/*.* engine/*)
TEST_SOURCES := $(SOURCES) $(wildcard export/*.py export/*/*.* train/*.py) constraints.txt

.PHONY: demo test full-size kernels lint format sanitize fuzz clean

demo: $(DEMO_VENV)/.ready
	$(DEMO_VENV)/bin/fgdm generate "$(PROMPT)" --bundle bundles/scenes --output out

$(DEMO_VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "fgdm needs Python 3.10 or newer; set PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m venv $(DEMO_VENV) \
	  || { echo "$(PYTHON) cannot make virtual environments (Debian, Ubuntu: apt install python3-venv)"; exit 1; }

$(DEMO_VENV)/.ready: $(DEMO_VENV)/bin/python $(SOURCES)
	$(DEMO_VENV)/bin/python -m pip install --quiet --disable-pip-version-check ".[cpu]"
	@touch $@

$(TEST_VENV)/.ready: $(TEST_SOURCES)
	test -x $(TEST_VENV)/bin/python || $(PYTHON) -m venv $(TEST_VENV)
	$(TEST_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	  torch numpy
	$(TEST_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	  ".[cpu,test,lint]" cmake ninja nlohmann-json
	@touch $@

test: $(TEST_VENV)/.ready build/tests/build.ninja
	$(TEST_VENV)/bin/cmake --build build/tests
	$(TEST_VENV)/bin/ctest --test-dir build/tests --output-on-failure
	$(TEST_VENV)/bin/python -m pytest -m "not full_size"

full-size: $(TEST_VENV)/.ready
	$(TEST_VENV)/bin/python -m pytest -m full_size -s

# Registers, shared memory and spills; warnings and spills in the main shapes are errors.
kernels:
	$(PYTHON) kernels/resources.py

CMAKE = PATH="$(CURDIR)/$(TEST_VENV)/bin:$$PATH" $(TEST_VENV)/bin/cmake -G Ninja -S . \
  -DFGDM_TESTS=ON -DFGDM_EXAMPLES=ON -DFGDM_WERROR=ON \
  -DPython_EXECUTABLE="$(CURDIR)/$(TEST_VENV)/bin/python"

build/tests/build.ninja: $(TEST_VENV)/.ready
	$(CMAKE) -B build/tests

# Address and undefined-behaviour sanitizers over the C++ tests.
sanitize: $(TEST_VENV)/.ready
	$(CMAKE) -B build/sanitize -DCMAKE_BUILD_TYPE=Debug -DFGDM_SANITIZE=address,undefined
	$(TEST_VENV)/bin/cmake --build build/sanitize
	$(TEST_VENV)/bin/ctest --test-dir build/sanitize --output-on-failure

# A short run of the libFuzzer targets; needs clang.
FUZZ_SECONDS ?= 20
fuzz: $(TEST_VENV)/.ready
	$(CMAKE) -B build/fuzz -DCMAKE_CXX_COMPILER=clang++ -DFGDM_FUZZ=ON -DFGDM_WERROR=OFF \
	  -DFGDM_SANITIZE=address,undefined,fuzzer-no-link
	$(TEST_VENV)/bin/cmake --build build/fuzz --target fgdm-fuzz-tokenizer fgdm-fuzz-manifest
	build/fuzz/tests/cpp/fgdm-fuzz-tokenizer -max_total_time=$(FUZZ_SECONDS) -verbosity=0
	build/fuzz/tests/cpp/fgdm-fuzz-manifest -max_total_time=$(FUZZ_SECONDS) -verbosity=0

PYTHON_FOLDERS := engine export train tests benchmarks cpp/tools kernels
CPP_FILES = $(shell git ls-files 'cpp/*.hpp' 'cpp/*.cpp' 'tests/cpp/*.hpp' 'tests/cpp/*.cpp' \
  'kernels/*.h' 'kernels/*.hpp' 'kernels/*.cpp' 'kernels/*.cu*' 'tests/kernels/*.?pp')

lint: $(TEST_VENV)/.ready
	$(TEST_VENV)/bin/ruff check $(PYTHON_FOLDERS)
	$(TEST_VENV)/bin/ruff format --check $(PYTHON_FOLDERS)
	cd build && ../$(TEST_VENV)/bin/python -m mypy --config-file ../pyproject.toml -p fgdm
	$(TEST_VENV)/bin/clang-format --dry-run --Werror $(CPP_FILES)

format: $(TEST_VENV)/.ready
	$(TEST_VENV)/bin/ruff check --fix $(PYTHON_FOLDERS)
	$(TEST_VENV)/bin/ruff format $(PYTHON_FOLDERS)
	$(TEST_VENV)/bin/clang-format -i $(CPP_FILES)

clean:
	rm -rf build $(DEMO_VENV) $(TEST_VENV) out
