// What TensorRT calls in a plugin library that it loads: IPluginRegistry::loadLibrary, trtexec
// --dynamicPlugins. The library doesn't register itself: loadLibrary fails for a creator that is
// registered already. register_on_load.cpp is for programs that only open a library.
#include <atomic>
#include <cstdio>

#include "entry_points.hpp"

namespace {

#if FGDM_HAS_LOADER
std::atomic<nvinfer1::ILoggerFinder*> logger_finder{nullptr};

nvinfer1::ILogger* find_logger() {
  auto* const finder = logger_finder.load();
  return finder == nullptr ? nullptr : finder->findLogger();
}
#else
nvinfer1::ILogger* find_logger() {
  return nullptr;
}
#endif

}  // namespace

namespace fgdm::plugin {

void log_error(const std::string& message) noexcept {
  if (auto* const logger = find_logger())
    logger->log(nvinfer1::ILogger::Severity::kERROR, message.c_str());
  else
    std::fprintf(stderr, "fgdm: %s\n", message.c_str());
}

Creator& creator() {
  static Creator only;
  return only;
}

}  // namespace fgdm::plugin

#if NV_TENSORRT_MAJOR >= 10
nvinfer1::IPluginCreatorInterface* const* getCreators(std::int32_t& count) {
  static nvinfer1::IPluginCreatorInterface* const creators[]{&fgdm::plugin::creator()};
  count = 1;
  return creators;
}
#else
nvinfer1::IPluginCreator* const* getPluginCreators(std::int32_t& count) {
  static nvinfer1::IPluginCreator* const creators[]{&fgdm::plugin::creator()};
  count = 1;
  return creators;
}
#endif

#if FGDM_HAS_LOADER
void setLoggerFinder(nvinfer1::ILoggerFinder* finder) {
  logger_finder = finder;
}
#endif
