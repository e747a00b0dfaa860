// The plugin library in TensorRT's own registry: loaded by it or registering itself, found under
// the op's name, and let go. Needs TensorRT's library of the version that this is built with; for
// loadLibrary, the NVIDIA driver besides:
//   FGDM_TENSORRT=/path/to/libnvinfer.so.8 plugin-library-test
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "entry_points.hpp"

namespace {

void* open_tensorrt() {
  const char* named = std::getenv("FGDM_TENSORRT");
  const std::string name =
      named != nullptr ? named : "libnvinfer.so." + std::to_string(NV_TENSORRT_MAJOR);
  return ::dlopen(name.c_str(), RTLD_NOW | RTLD_GLOBAL);
}

nvinfer1::IPluginRegistry* registry() {
  void* const library = open_tensorrt();
  if (library == nullptr)
    return nullptr;
  using Get = nvinfer1::IPluginRegistry* (*)() noexcept;
  return reinterpret_cast<Get>(::dlsym(library, "getPluginRegistry"))();
}

#define NEED_TENSORRT()                                                                            \
  if (registry() == nullptr)                                                                       \
  GTEST_SKIP() << "no libnvinfer of TensorRT " << NV_TENSORRT_MAJOR << " here: " << ::dlerror()

auto* find_creator() {
#if NV_TENSORRT_MAJOR >= 10
  return registry()->getCreator("SegFreeAttention", "1", "fgdm");
#else
  return registry()->getPluginCreator("SegFreeAttention", "1", "fgdm");
#endif
}

#if FGDM_HAS_LOADER
TEST(PluginLibrary, TheRegistryLoadsItAndLetsItGo) {
  NEED_TENSORRT();
  if (::dlopen("libcuda.so.1", RTLD_NOW) == nullptr)
    GTEST_SKIP() << "TensorRT's registry loads libraries only where the NVIDIA driver is";
  ASSERT_EQ(find_creator(), nullptr);
  auto* const handle = registry()->loadLibrary(FGDM_PLUGIN_LIBRARY);
  ASSERT_NE(handle, nullptr);
  ASSERT_NE(find_creator(), nullptr);
  registry()->deregisterLibrary(handle);
  EXPECT_EQ(find_creator(), nullptr);
}
#endif

TEST(PluginLibrary, TheOtherOneRegistersItselfWhenOpened) {
  NEED_TENSORRT();
  ASSERT_EQ(find_creator(), nullptr);
  ASSERT_NE(::dlopen(FGDM_PLUGIN_LIBRARY_ONLOAD, RTLD_NOW | RTLD_LOCAL), nullptr) << ::dlerror();
  auto* const found = find_creator();
  ASSERT_NE(found, nullptr);
#if NV_TENSORRT_MAJOR < 10
  auto* const plugin = found->createPlugin("node", nullptr);
  ASSERT_NE(plugin, nullptr);
  EXPECT_STREQ(plugin->getPluginNamespace(), "fgdm");
  plugin->destroy();
#endif
}

}  // namespace
