#pragma once

#include "ort_api.hpp"

namespace fgdm::ort {

/// OrtCustomOp of interface version 21, to which later ones only add. What is NULL is left to the
/// runtime. tests/cpp/backends/ort_abi_test.cpp checks every place against the real header.
struct CustomOp {
  std::uint32_t version;
  void* (*create_kernel_v1)(const CustomOp*, const void* api, const KernelInfo*);
  const char* (*name)(const CustomOp*);
  const char* (*provider)(const CustomOp*);  // NULL from it: the processor's
  int (*input_type)(const CustomOp*, std::size_t);
  std::size_t (*input_count)(const CustomOp*);
  int (*output_type)(const CustomOp*, std::size_t);
  std::size_t (*output_count)(const CustomOp*);
  void (*compute_v1)(void* kernel, KernelContext*);
  void (*destroy)(void* kernel);
  int (*input_characteristic)(const CustomOp*, std::size_t);
  int (*output_characteristic)(const CustomOp*, std::size_t);
  int (*input_memory_type)(const CustomOp*, std::size_t);
  int (*fewest_variadic_inputs)(const CustomOp*);
  int (*variadic_inputs_are_alike)(const CustomOp*);
  int (*fewest_variadic_outputs)(const CustomOp*);
  int (*variadic_outputs_are_alike)(const CustomOp*);
  Status* (*create_kernel)(const CustomOp*, const void* api, const KernelInfo*, void** kernel);
  Status* (*compute)(void* kernel, KernelContext*);
  Status* (*infer_shape)(const CustomOp*, ShapeContext*);
  int (*first_version)(const CustomOp*);
  int (*last_version)(const CustomOp*);
  std::size_t (*may_be_in_place)(int** inputs, int** outputs);
  void (*release_may_be_in_place)(int* inputs, int* outputs);
  std::size_t (*aliases)(int** inputs, int** outputs);
  void (*release_aliases)(int* inputs, int* outputs);
};

}  // namespace fgdm::ort
