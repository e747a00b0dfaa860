#pragma once

#include "plugin_types.hpp"
#if NV_TENSORRT_MAJOR >= 10
#include "attention_plugin.hpp"
#else
#include "attention_plugin_v2.hpp"
#endif

// The library hides all other names.
#define FGDM_EXPORT __attribute__((visibility("default")))

namespace fgdm::plugin {

// The library's one creator.
Creator& creator();

}  // namespace fgdm::plugin

// By these names TensorRT finds what a library holds; loadLibrary begins with 8.6.
#define FGDM_HAS_LOADER (NV_TENSORRT_MAJOR * 100 + NV_TENSORRT_MINOR >= 806)

extern "C" {
#if NV_TENSORRT_MAJOR >= 10
FGDM_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(std::int32_t& count);
#else
FGDM_EXPORT nvinfer1::IPluginCreator* const* getPluginCreators(std::int32_t& count);
#endif
#if FGDM_HAS_LOADER
FGDM_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder);
#endif
}
