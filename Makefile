# make demo [PROMPT="two dogs beside a house"]   a picture in out/, without a GPU or PyTorch
# make test                                      every test of this machine's kind, in its own environment
# make full-size                                 Stable Diffusion 1.5's shapes: 15 minutes, 16 GB of memory
# make nightly                                   what takes too long for every change: hours, 16 GB
# make bench                                     what a CPU can measure in 20 minutes, beside the targets
# make tensorrt-headers TENSORRT_INCLUDES="a b" the TensorRT sources against the headers in each folder
# make aarch64                                   the core for 64-bit Arm, and its tests under emulation
# make wheel                                     a manylinux wheel, in build/dist
# make abi [ABI_REF=COMMIT]                      what changed in libfgdm.so since the last release tag
# make gpu-check                                 every check that needs a GPU, in one go
# make gpu-kit                                   all that gpu/run.sh needs on a machine without a network
# make kernels                                   every CUDA kernel for every GPU architecture, without a GPU
# make lint, make format, make sanitize, make fuzz   what CI checks besides

PYTHON ?= python3
PROMPT ?= two dogs beside a house under a tree with a kite and the sun
DEMO_VENV := .venv-demo
TEST_VENV := .venv-test
SOURCES := pyproject.toml CMakeLists.txt $(wildcard licenses/* cpp/*.* cpp/*/*.* cpp/*/*/*.* cpp/*/*/*/*.* cpp/*/*/*/*/*.* kernels/*/* engine/* engine/*/* engine/*/*/*)
TEST_SOURCES := $(SOURCES) $(wildcard export/*.py export/*/*.* train/*.py evaluate/*.py evaluate/*/*.py evaluate/*/*/*.py)

.NOTPARALLEL:
.PHONY: demo test system-packages chromium clang nightly full-size bench kernels gpu-check gpu-kit abi lint format sanitize sanitize-python fuzz tensorrt-headers aarch64 wheel clean

demo: $(DEMO_VENV)/.ready
	$(DEMO_VENV)/bin/fgdm generate "$(PROMPT)" --bundle bundles/scenes --output out --stop-at-recall 0

$(DEMO_VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "fgdm needs Python 3.10 or newer; set PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m venv $(DEMO_VENV) \
	  || { echo "$(PYTHON) cannot make virtual environments (Debian, Ubuntu: apt install python3-venv)"; exit 1; }

# One wheel for both environments; a wheel of the same version isn't installed again unless forced. Its objects
# are those of build/tests, which ccache knows by the compiler's name, the flags and the place of each header.
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --no-compile
WHEEL = "$$(ls build/wheel/fgdm-*.whl)"
# Warnings are a newcomer's errors only where the tests are built too: the flag is among those of the objects.
WHEEL_WERROR = $(if $(wildcard $(TEST_VENV)),ON,OFF)
BUILD_REQUIRES := cmake ninja nlohmann-json pybind11 scikit-build-core
build/wheel/.ready: $(TEST_SOURCES)
	rm -rf build/wheel
	set -e; python="$$(ls $(TEST_VENV)/bin/python $(DEMO_VENV)/bin/python 2>/dev/null | head -1)"; \
	$$python $(PIP_INSTALL) $(BUILD_REQUIRES); \
	PATH="$(CURDIR)/$$(dirname $$python):$$PATH" CXX="$${CXX:-c++}" $$python -m pip wheel --quiet \
	  --disable-pip-version-check --no-build-isolation -C cmake.define.FGDM_WERROR=$(WHEEL_WERROR) --no-deps \
	  --wheel-dir build/wheel .
	@touch $@

$(DEMO_VENV)/.ready: $(DEMO_VENV)/bin/python build/wheel/.ready
	$(DEMO_VENV)/bin/python $(PIP_INSTALL) --force-reinstall --no-deps $(WHEEL)
	$(DEMO_VENV)/bin/python $(PIP_INSTALL) $(WHEEL)"[cpu]"
	@touch $@

$(TEST_VENV)/bin/python: | system-packages
	$(PYTHON) -m venv $(TEST_VENV)

# torch-fidelity, with which evaluate's figures are compared, stays apart: its torchvision needs a torch of
# the same build, and torchmetrics can't be imported beside a torch-fidelity without it. So does the plugin
# of OpenVINO: installed, it would be what "auto" takes in every other test. The wheel may have been built in
# the other environment, so that CMake and its like are still missing here.
$(TEST_VENV)/.ready: $(TEST_VENV)/bin/python build/wheel/.ready constraints.txt
	$(TEST_VENV)/bin/python $(PIP_INSTALL) $(BUILD_REQUIRES)
	$(TEST_VENV)/bin/python $(PIP_INSTALL) --force-reinstall --no-deps $(WHEEL)
	$(TEST_VENV)/bin/python $(PIP_INSTALL) -c constraints.txt \
	  $(WHEEL)"[cpu,test,lint]"
	$(TEST_VENV)/bin/python $(PIP_INSTALL) -c constraints.txt --no-deps --upgrade \
	  --target build/torch-fidelity torch-fidelity
	if test "$$(uname -m)" = x86_64; then $(TEST_VENV)/bin/python $(PIP_INSTALL) -c constraints.txt --no-deps --upgrade \
	  --target build/plugins onnxruntime-ep-openvino; fi
	@touch $@

# What neither PyPI nor this repository has. Root gets it installed, others are told.
ROOT_OF_DEBIAN := test "$$(id -u)" = 0 && command -v apt-get >/dev/null
FROM_DEBIAN := apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends

# For all tests.
GTEST_SOURCE ?= /usr/src/googletest
SYSTEM_PACKAGES := build-essential python3-venv libgtest-dev
system-packages:
	@if test -f "$(GTEST_SOURCE)/CMakeLists.txt" && command -v c++ >/dev/null; then :; \
	elif ! command -v apt-get >/dev/null; then \
	  echo "make: GoogleTest's source wasn't found in $(GTEST_SOURCE); unless your system's package of it has" \
	    "CMake's files, give GTEST_SOURCE=FOLDER"; \
	elif $(ROOT_OF_DEBIAN); then $(FROM_DEBIAN) $(SYSTEM_PACKAGES) >/dev/null; \
	else \
	  echo "make: a compiler or GoogleTest is missing: sudo apt-get install $(SYSTEM_PACKAGES)"; exit 1; \
	fi

# For sanitizers and fuzz targets.
clang:
	@if test -f "$$(clang++ -print-file-name=libclang_rt.asan-$$(uname -m).so 2>/dev/null)"; then :; \
	elif $(ROOT_OF_DEBIAN); then $(FROM_DEBIAN) clang libclang-rt-dev >/dev/null; \
	else \
	  echo "make: clang is missing: sudo apt-get install clang libclang-rt-dev"; exit 1; \
	fi

# For the studio's tests, which are skipped without it.
chromium:
	@if command -v chromium >/dev/null; then :; \
	elif $(ROOT_OF_DEBIAN); then $(FROM_DEBIAN) chromium >/dev/null; \
	else \
	  echo "make: there is no chromium, so the studio's tests are skipped: sudo apt-get install chromium"; \
	fi

# As many test processes as there are cores, but each takes 3 GB at most of its time.
TEST_JOBS ?= $(shell n=$$(nproc); m=$$(awk '/MemAvailable/ {print int($$2 / 4000000)}' /proc/meminfo); \
  test $$m -lt $$n && n=$$m; test $$n -ge 1 || n=1; echo $$n)
PYTEST := OMP_NUM_THREADS=1 $(TEST_VENV)/bin/python -m pytest --numprocesses $(TEST_JOBS) --dist loadfile
test: $(TEST_VENV)/.ready build/tests/build.ninja | chromium
	$(TEST_VENV)/bin/cmake --build build/tests
	$(TEST_VENV)/bin/ctest --test-dir build/tests --output-on-failure --parallel $(TEST_JOBS)
	FGDM_ORT_OPS_HOST="$$(ls build/tests/kernels/onnxruntime/libfgdm_ort_ops_host.so 2>/dev/null)" \
	  FGDM_GENERATE="$(CURDIR)/build/tests/fgdm-generate" \
	  FGDM_LIBRARY="$(CURDIR)/build/tests/cpp/src/libfgdm.so" \
	  $(PYTEST) --durations=20 -m "not full_size and not gpu and not nightly"

# Programs that were linked to the last release: would they run with this libfgdm.so? cpp/tools/abi.sh.
ABI_REF ?= $(shell git describe --tags --abbrev=0 2>/dev/null)
abi: $(TEST_VENV)/.ready
	CMAKE=$(CURDIR)/$(TEST_VENV)/bin/cmake \
	  ABI_OPTIONS="-DPython_EXECUTABLE=$(CURDIR)/$(TEST_VENV)/bin/python" bash cpp/tools/abi.sh "$(ABI_REF)"

# What takes too long for every change: run it by hand before a release, and after changes of export,
# of the scheduler and of the process's edges. docs/testing.md.
nightly: test
	$(TEST_VENV)/bin/python -m pytest -m nightly -s
	$(MAKE) full-size
	$(MAKE) sanitize sanitize-thread SOAK_REQUESTS=10000 SPOILT_EVERY=1
	$(MAKE) aarch64
	$(MAKE) kernels KERNEL_ARCHITECTURES="75 80 86 87 89 90 100 110 120"
	$(CMAKE) -B build/nightly -DFGDM_EXAMPLES=OFF -DFGDM_SOAK_REQUESTS=100000
	$(TEST_VENV)/bin/cmake --build build/nightly --target fgdm-tests
	build/nightly/tests/cpp/fgdm-tests --gtest_filter=Scheduler.ManyRequests --gtest_brief=1
	$(MAKE) fuzz FUZZ_SECONDS=600

full-size: $(TEST_VENV)/.ready
	$(TEST_VENV)/bin/python -m pytest -m full_size -s

# A short form of docs/benchmarks.md, on few prompts. BENCH_EVERY=1 takes all 200, and many hours.
BENCH_EVERY ?= 67
BENCH := build/bench
BENCHMARK = $(TEST_VENV)/bin/python -m
bench: $(TEST_VENV)/.ready
	$(BENCHMARK) benchmarks.generate --runs 3 --output $(BENCH)/generate.json
	$(BENCHMARK) benchmarks.compliance --every $(BENCH_EVERY) --output $(BENCH)/compliance.json
	$(BENCHMARK) benchmarks.guidance --every $(BENCH_EVERY) --output $(BENCH)/guidance.json
	$(BENCHMARK) benchmarks.savings --every $(BENCH_EVERY) --output $(BENCH)/savings.json
	$(BENCHMARK) benchmarks.burst --repeats 1 --candidates 2 --condition-steps 5 \
	  --num-inference-steps 5 --output $(BENCH)/burst.json
	$(BENCHMARK) benchmarks.throughput --requests 8 --candidates 4 --condition-steps 5 \
	  --num-inference-steps 5 --clients 1 4 16 --loads 0.8 --output $(BENCH)/throughput.json
	$(BENCHMARK) benchmarks.scaling --runs 1 --output $(BENCH)/scaling.json
	$(BENCHMARK) benchmarks.report $(BENCH) --figures $(BENCH)/figures

# Registers, shared memory and spills; warnings and spills in the main shapes are errors. Without a
# CUDA toolkit, the compiler comes from PyPI. Two architectures that differ in what kernels may use:
# no bfloat16, and Hopper's.
KERNEL_ARCHITECTURES ?= 75 90
kernels: $(TEST_VENV)/.ready
	command -v "$${NVCC:-nvcc}" || test -n "$$CUDA_HOME" || $(TEST_VENV)/bin/python -m pip install --quiet \
	  --disable-pip-version-check -r kernels/requirements.txt
	$(TEST_VENV)/bin/python kernels/resources.py --architectures $(KERNEL_ARCHITECTURES) --output build/kernels.json

# All that needs a GPU, in one go, whatever fails: kernel tests (also under compute-sanitizer), the
# kernels' speeds as JSON with the card's name, the core's and the engine's GPU tests. Needs nvcc,
# CMake 3.24, ninja, GoogleTest, nlohmann-json, and, in the Python that GPU_PYTHON names, PyTorch for
# CUDA, pytest and the package itself: pip install '.[cuda]' pytest.
GPU_PYTHON ?= $(PYTHON)
GPU_BUILD := build/cuda
ON_GPU := FGDM_KERNELS="$(CURDIR)/$(GPU_BUILD)/kernels/libfgdm_kernels.so"
GPU_TESTS := $(GPU_BUILD)/tests/kernels/fgdm_kernel_gpu_tests
CARD = $$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1 | tr ' ' '-')
gpu-check:
	cmake -G Ninja -S . -B $(GPU_BUILD) -DFGDM_CUDA=ON -DFGDM_TESTS=ON -DFGDM_WERROR=ON \
	  -DFGDM_EXAMPLES=ON -DCMAKE_CUDA_ARCHITECTURES=native -DFGDM_SOAK_REQUESTS=300 -DFGDM_GOOGLETEST="$(GTEST_SOURCE)" \
	  -DPython_EXECUTABLE="$$(command -v $(GPU_PYTHON))"
	cmake --build $(GPU_BUILD)
	@failed=""; check() { echo "gpu-check: $$*"; "$$@" || failed="$$failed\n  $$*"; }; \
	check $(GPU_TESTS); \
	check $(GPU_PYTHON) -m benchmarks.kernels $(GPU_BUILD)/kernels/libfgdm_kernels.so \
	  --output "benchmarks/results/$(CARD)-$$(date +%F).json"; \
	check compute-sanitizer --tool memcheck --error-exitcode 1 $(GPU_TESTS); \
	check compute-sanitizer --tool racecheck --error-exitcode 1 $(GPU_TESTS) \
	  --gtest_filter=-*ManyPatches*:*IsDeterministic*; \
	check env $(ON_GPU) ctest --test-dir $(GPU_BUILD) --output-on-failure -E 'Gpu[.]'; \
	check env $(ON_GPU) $(GPU_PYTHON) -m pytest tests/gpu -rs; \
	test -z "$$failed" || { printf "gpu-check: these failed:$$failed\n"; exit 1; }

# All that a machine with a card and no network needs for gpu/run.sh: docs/gpu.md.
GPU_ARCHITECTURE ?= 90
GPU_PIECE_MIB ?= 60
gpu-kit: $(TEST_VENV)/.ready
	PATH="$(CURDIR)/$(TEST_VENV)/bin:$$PATH" $(TEST_VENV)/bin/python -m gpu.kit \
	  --python "$(GPU_PYTHON)" --architecture $(GPU_ARCHITECTURE) --piece-mib $(GPU_PIECE_MIB)

GTEST_FLAGS = -DFGDM_GOOGLETEST="$(GTEST_SOURCE)"
# Objects of build folders that differ in nothing that matters are shared, where ccache is.
export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_NOHASHDIR := 1

CMAKE = PATH="$(CURDIR)/$(TEST_VENV)/bin:$$PATH" $(TEST_VENV)/bin/cmake -G Ninja -S . \
  -DFGDM_TESTS=ON -DFGDM_EXAMPLES=ON -DFGDM_WERROR=ON -DCMAKE_UNITY_BUILD=ON $(GTEST_FLAGS) \
  -DPython_EXECUTABLE="$(CURDIR)/$(TEST_VENV)/bin/python"

SOAK_REQUESTS ?= 2000
build/tests/build.ninja: $(TEST_VENV)/.ready | system-packages
	$(CMAKE) -B build/tests -DFGDM_SOAK_REQUESTS=$(SOAK_REQUESTS)

# Runs a GoogleTest program's tests in as many processes as there are cores, and 1 GB of free memory for each.
SHARD_JOBS ?= $(shell n=$$(nproc); m=$$(awk '/MemAvailable/ {print int($$2 / 1000000)}' /proc/meminfo); \
  test $$m -lt $$n && n=$$m; test $$n -ge 1 || n=1; echo $$n)
define SHARDS
set -e; shards="$(SHARD_JOBS)"; pids=""; \
run() { for shard in $$(seq 0 $$((shards - 1))); do \
  GTEST_TOTAL_SHARDS=$$shards GTEST_SHARD_INDEX=$$shard "$$@" & pids="$$pids $$!"; done; \
  for pid in $$pids; do wait $$pid; done; }; run
endef

# The core's C++ tests under the address and undefined-behaviour sanitizers, which take one in fifteen of
# thousands of spoilt manifests; under ThreadSanitizer (make sanitize-thread) those of the rooms where threads
# meet.
# The sanitizers end the process where operator new finds no memory, which one test asks ONNX Runtime for, and
# keep freed memory, which another measures. ONNX Runtime takes ten times as long to open graphs there: low
# memory opens them again and again.
# ThreadSanitizer has a thread of its own, which another test counts. Each test is named as it begins: where a
# process ends in one, that is known.
MEASURED_MEMORY := OrtSessionTest.MemoryThatIsNotThere*:*.WithLowMemoryALargeFloat16Weight*
SKIPPED_thread := --gtest_filter=-$(MEASURED_MEMORY):OrtSessionTest.HasAsManyThreads*
SKIPPED_address,undefined := --gtest_filter=-$(MEASURED_MEMORY):*ArchiveWithMemory*low
THREADED_ROOMS ?= base;backends;chain;serving;c
SANITIZED_thread = -DFGDM_SANITIZE=thread "-DFGDM_TEST_ROOMS=$(THREADED_ROOMS)"
# Clang compiles it in two thirds of GCC's time, and the fuzz targets are of the same objects.
SANITIZED_address,undefined = -DFGDM_SANITIZE=address,undefined -DCMAKE_CXX_COMPILER=clang++ -DFGDM_FUZZ=ON \
  -DFGDM_WERROR=OFF
SPOILT_EVERY ?= 15
# What ONNX Runtime does by itself isn't ours to watch, and took two thirds of the time.
export TSAN_OPTIONS = suppressions=$(CURDIR)/tests/cpp/tsan.txt ignore_noninstrumented_modules=1
SANITIZED_BUILD := -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG="-O1 -g1" -DFGDM_EXAMPLES=OFF
sanitize: sanitize-address,undefined sanitize-python
sanitize-address,undefined: | clang
sanitize-%: $(TEST_VENV)/.ready | system-packages
	$(CMAKE) -B build/sanitized-$* $(SANITIZED_BUILD) $(SANITIZED_$*) -DFGDM_SPOILT_EVERY=$(SPOILT_EVERY) \
	  -DFGDM_SOAK_REQUESTS=$(if $(filter command,$(origin SOAK_REQUESTS)),$(SOAK_REQUESTS),300)
	$(TEST_VENV)/bin/cmake --build build/sanitized-$* --target fgdm-tests
	$(SHARDS) build/sanitized-$*/tests/cpp/fgdm-tests $(SKIPPED_$*)

# The bindings, and what they hand to ONNX Runtime, under the first two. Python itself is built without
# them, so their library is loaded before it; the first test, without them, exports the bundle. A forked
# child has lost the threads that hold what it would report as leaks.
SANITIZED := $(CURDIR)/build/sanitized-python
SANITIZED_TESTS := tests/engine/test_errors.py tests/engine/test_generate.py tests/engine/test_endings.py \
  -k "not fork and not profile and not guarded and not precision"
sanitize-python: $(TEST_VENV)/.ready | system-packages clang
	$(CMAKE) -B $(SANITIZED) $(SANITIZED_BUILD) $(SANITIZED_address,undefined) \
	  -DFGDM_TESTS=OFF -DFGDM_PYTHON=ON -DCMAKE_MODULE_LINKER_FLAGS=-shared-libasan \
	  -Dpybind11_DIR="$$($(TEST_VENV)/bin/python -m pybind11 --cmakedir)"
	$(TEST_VENV)/bin/cmake --build $(SANITIZED) --target _core
	$(TEST_VENV)/bin/cmake --install $(SANITIZED) --prefix $(SANITIZED)/package --component fgdm_python >/dev/null
	rm -rf $(SANITIZED)/shared
	export FGDM_TEST_SHARED=$(SANITIZED)/shared OMP_NUM_THREADS=1; \
	$(TEST_VENV)/bin/python -m pytest -q tests/engine/test_generate.py -k same_seed && \
	PYTHONPATH=$(SANITIZED)/package \
	LD_PRELOAD="$$(clang++ -print-file-name=libclang_rt.asan-$$(uname -m).so) $$(c++ -print-file-name=libstdc++.so)" \
	LSAN_OPTIONS=suppressions=$(CURDIR)/tests/engine/leaks.txt:print_suppressions=0 UBSAN_OPTIONS=print_stacktrace=1 \
	  $(PYTEST) -q --capture=sys $(SANITIZED_TESTS)

# A short run of the libFuzzer targets.
FUZZ_SECONDS ?= 20
FUZZED := build/sanitized-address,undefined
fuzz: $(TEST_VENV)/.ready | clang
	$(CMAKE) -B $(FUZZED) $(SANITIZED_BUILD) $(SANITIZED_address,undefined)
	$(TEST_VENV)/bin/cmake --build $(FUZZED) --target fgdm-fuzz-tokenizer fgdm-fuzz-manifest fgdm-fuzz-zip
	set -e; for target in tokenizer manifest zip; do \
	  $(FUZZED)/tests/cpp/fgdm-fuzz-$$target -max_total_time=$(FUZZ_SECONDS) -verbosity=0 & pids="$$pids $$!"; \
	done; for pid in $$pids; do wait $$pid; done

# Everything that includes TensorRT's headers, compiled against each set of them. CUDA's runtime
# headers must be found too: the toolkit's, or those of the PyPI package nvidia-cuda-runtime.
TENSORRT_INCLUDES ?=
tensorrt-headers: $(TEST_VENV)/.ready
	@test -n "$(strip $(TENSORRT_INCLUDES))" \
	  || echo "tensorrt-headers: skipped, TENSORRT_INCLUDES names no folder with NvInferRuntime.h"
	@set -e; number=0; for folder in $(TENSORRT_INCLUDES); do \
	  number=$$((number + 1)); build=build/tensorrt-headers-$$number; rm -rf $$build; \
	  $(CMAKE) -B $$build -DFGDM_EXAMPLES=OFF -DFGDM_TENSORRT_INCLUDE=$$folder \
	    $(TENSORRT_CMAKE_FLAGS); \
	  $(TEST_VENV)/bin/cmake --build $$build --target \
	    fgdm_tensorrt_headers fgdm-plugin-test fgdm-plugin-library-test; \
	  $$build/tests/kernels/tensorrt/fgdm-plugin-test --gtest_brief=1; \
	done

# A wheel for other machines than this one, in build/dist: auditwheel finds out from which C library on
# it runs, and names it so. A build on an older distribution runs on more. Where nvcc is, it carries the
# compiled CUDA kernels (WHEEL_CUDA=OFF leaves them out).
WHEEL_CUDA ?= $(if $(shell command -v nvcc),ON,OFF)
wheel: $(TEST_VENV)/.ready
	$(TEST_VENV)/bin/python $(PIP_INSTALL) $(WHEEL)"[dist]"
	rm -rf build/release build/dist
	PATH="$(CURDIR)/$(TEST_VENV)/bin:$$PATH" $(TEST_VENV)/bin/python -m pip wheel --quiet --no-deps \
	  --disable-pip-version-check --no-build-isolation -C cmake.define.FGDM_CUDA=$(WHEEL_CUDA) \
	  --wheel-dir build/release .
	PATH="$(CURDIR)/$(TEST_VENV)/bin:$$PATH" $(TEST_VENV)/bin/auditwheel repair --wheel-dir build/dist build/release/fgdm-*.whl
	$(TEST_VENV)/bin/python -m zipfile --list build/dist/fgdm-*.whl | grep '\.so'

# Cross-compiled, and its C++ tests run under emulation; AARCH64_ROOMS="base;maths;maps;text" are those that
# another architecture's arithmetic, characters and alignment change most. An emulator on this one has this
# one's order of memory.
# Debian: apt install g++-aarch64-linux-gnu qemu-user-static libgtest-dev (for GoogleTest's source).
AARCH64_ROOMS ?= base;maths;maps;text;bundle;backends;chain;serving;c
AARCH64_TARGET ?= all
AARCH64_SPOILT_EVERY ?= 1
AARCH64_EMULATOR := qemu-aarch64-static;-L;/usr/aarch64-linux-gnu
aarch64: $(TEST_VENV)/.ready
	$(CMAKE) -B build/aarch64 -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
	  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DCMAKE_CROSSCOMPILING_EMULATOR="$(AARCH64_EMULATOR)" \
	  -DCMAKE_DISABLE_FIND_PACKAGE_GTest=ON -DFGDM_SOAK_REQUESTS=300 -DFGDM_SPOILT_EVERY=$(AARCH64_SPOILT_EVERY) \
	  -DFGDM_EXAMPLES=OFF "-DFGDM_TEST_ROOMS=$(AARCH64_ROOMS)"
	$(TEST_VENV)/bin/cmake --build build/aarch64 --target $(AARCH64_TARGET)
	$(TEST_VENV)/bin/ctest --test-dir build/aarch64 --output-on-failure --parallel $(TEST_JOBS) -E NOT_BUILT

# The first four are fgdm when they are installed; mypy checks them as that package.
PACKAGE_FOLDERS := engine export train evaluate
CHECKOUT_FOLDERS := gpu tests benchmarks cpp/tools kernels docs
PYTHON_FOLDERS := $(PACKAGE_FOLDERS) $(CHECKOUT_FOLDERS)
CPP_FILES = $(shell git ls-files '*.h' '*.hpp' '*.c' '*.cpp' '*.cu' '*.cuh')

lint: $(TEST_VENV)/.ready
	$(TEST_VENV)/bin/ruff check $(PYTHON_FOLDERS)
	$(TEST_VENV)/bin/ruff format --check $(PYTHON_FOLDERS)
	$(TEST_VENV)/bin/python -m mypy -n auto --cache-dir build/mypy -p fgdm
	$(TEST_VENV)/bin/python -m mypy -n auto --cache-dir build/mypy $(CHECKOUT_FOLDERS)
	@echo "clang-format --dry-run, of every C and C++ file"
	@$(TEST_VENV)/bin/clang-format --dry-run --Werror $(CPP_FILES)

format: $(TEST_VENV)/.ready
	$(TEST_VENV)/bin/ruff check --fix $(PYTHON_FOLDERS)
	$(TEST_VENV)/bin/ruff format $(PYTHON_FOLDERS)
	$(TEST_VENV)/bin/clang-format -i $(CPP_FILES)

clean:
	rm -rf build $(DEMO_VENV) $(TEST_VENV) out
