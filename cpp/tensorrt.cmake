# TensorRT's interface is C++, so its headers, and CUDA's, decide whether the core has the backend
# "tensorrt" and for which major version. Both libraries are opened at run time.
find_path(FGDM_TENSORRT_INCLUDE NvInferRuntime.h
          HINTS ENV TENSORRT_HOME PATH_SUFFIXES include aarch64-linux-gnu x86_64-linux-gnu
          DOC "The folder of TensorRT's headers")
find_path(FGDM_CUDA_INCLUDE cuda_runtime_api.h
          HINTS ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES include
          DOC "The folder of the CUDA runtime's headers")

if(FGDM_TENSORRT_INCLUDE AND FGDM_CUDA_INCLUDE)
  set(FGDM_TENSORRT ON)
  file(STRINGS "${FGDM_TENSORRT_INCLUDE}/NvInferVersion.h" version_lines
       REGEX "define (NV_TENSORRT|TRT)_(MAJOR|MINOR)(_ENTERPRISE)? [0-9]")
  string(REGEX MATCHALL " [0-9]+" version_numbers "${version_lines}")
  list(TRANSFORM version_numbers STRIP)
  list(JOIN version_numbers "." FGDM_TENSORRT_VERSION)
  message(STATUS "Backend tensorrt: built with headers of TensorRT ${FGDM_TENSORRT_VERSION} "
                 "(${FGDM_TENSORRT_INCLUDE})")
  set_property(SOURCE backends/tensorrt/tensorrt_runtime.cpp APPEND PROPERTY
               COMPILE_DEFINITIONS FGDM_TENSORRT)
  target_include_directories(fgdm_backends_tensorrt SYSTEM PRIVATE
                             "${FGDM_TENSORRT_INCLUDE}" "${FGDM_CUDA_INCLUDE}")
else()
  set(FGDM_TENSORRT OFF)
  message(STATUS "Backend tensorrt: not built, its headers were not found (FGDM_TENSORRT_INCLUDE: "
                 "${FGDM_TENSORRT_INCLUDE}, FGDM_CUDA_INCLUDE: ${FGDM_CUDA_INCLUDE})")
endif()
