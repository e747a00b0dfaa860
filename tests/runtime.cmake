# ONNX Runtime of the given Python, for the tests of what runs on it.
if(NOT CMAKE_CROSSCOMPILING)
  find_package(Python COMPONENTS Interpreter QUIET)
  execute_process(
    COMMAND "${Python_EXECUTABLE}" -c
            "import importlib.util, pathlib; \
package = pathlib.Path(importlib.util.find_spec('onnxruntime').origin).parent; \
print(next(package.glob('capi/libonnxruntime.so*')))"
    OUTPUT_VARIABLE FGDM_TEST_RUNTIME OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT FGDM_TEST_RUNTIME)
  message(STATUS "ONNX Runtime was not found in ${Python_EXECUTABLE}: its tests are skipped")
endif()
