// For programs that only open a plugin library and look into the registry: polygraphy --plugins,
// trtexec --staticPlugins, and everything on TensorRT 8.5, whose registry can't load libraries.
#include <dlfcn.h>

#include <cstdio>

#include "entry_points.hpp"

namespace {

// TensorRT isn't linked to, so that the library builds with its headers alone.
nvinfer1::IPluginRegistry* find_registry() {
  const std::string name = "libnvinfer.so." + std::to_string(NV_TENSORRT_MAJOR);
  void* const library = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::fprintf(stderr, "fgdm: the plugin can't be registered: %s\n", ::dlerror());
    return nullptr;
  }
  using GetRegistry = nvinfer1::IPluginRegistry* (*)() noexcept;
  const auto get = reinterpret_cast<GetRegistry>(::dlsym(library, "getPluginRegistry"));
  return get == nullptr ? nullptr : get();
}

[[maybe_unused]] const bool registered = [] {
  auto* const registry = find_registry();
  return registry != nullptr &&
         registry->registerCreator(fgdm::plugin::creator(), fgdm::plugin::op_namespace);
}();

}  // namespace
