#include <span>
#include <utility>

#include "c_arrays.hpp"
#include "c_callbacks.hpp"
#include "c_handles.hpp"
#include "c_status.hpp"
#include "fgdm/log.hpp"

namespace {

using fgdm::c::guarded;
using fgdm::c::required;

void tell_when_done(const fgdm::Job& submitted, const fgdm_callbacks& callbacks, fgdm_job** job) {
  try {
    submitted.when_done([callbacks] { callbacks.on_done(callbacks.context); });
  } catch (...) {
    *job = nullptr;
    throw;
  }
}

template <typename Open>
void open_engine(const char* options, fgdm_engine** engine, const Open& open) {
  const auto parsed =
      options == nullptr ? fgdm::EngineOptions{} : fgdm::parse_engine_options(options);
  auto made = std::make_unique<fgdm_engine>();
  made->engine = open(parsed);
  made->info = std::make_shared<const fgdm::EngineInfo>(fgdm::engine_info(*made->engine));
  made->info_json = fgdm::engine_json(*made->info);
  *engine = made.release();
}

}  // namespace

extern "C" fgdm_status fgdm_engine_open(const char* bundle, const char* options,
                                        fgdm_engine** engine) {
  return guarded([&] {
    required(engine, "engine") = nullptr;
    required(bundle, "bundle");
    open_engine(options, engine, [&](const fgdm::EngineOptions& parsed) {
      return std::make_unique<fgdm::Engine>(bundle, parsed);
    });
    return FGDM_OK;
  });
}

extern "C" fgdm_status fgdm_engine_open_memory(const void* archive, size_t size,
                                               const char* options, void (*release)(void* context),
                                               void* context, fgdm_engine** engine) {
  return guarded([&] {
    std::shared_ptr<const void> owner(archive, [release, context](const void*) {
      if (release != nullptr)
        release(context);
    });
    required(engine, "engine") = nullptr;
    const auto* const begin = &required(static_cast<const std::byte*>(archive), "archive");
    fgdm::Bytes bytes{{begin, size}, std::move(owner)};
    open_engine(options, engine, [&](const fgdm::EngineOptions& parsed) {
      return std::make_unique<fgdm::Engine>(std::move(bytes), parsed);
    });
    return FGDM_OK;
  });
}

extern "C" void fgdm_engine_close(fgdm_engine* engine) {
  delete engine;
}

extern "C" fgdm_status fgdm_engine_info(const fgdm_engine* engine, const char** json) {
  return guarded([&] {
    required(json, "json") = nullptr;
    *json = required(engine, "engine").info_json.c_str();
    return FGDM_OK;
  });
}

extern "C" fgdm_status fgdm_engine_metrics(const fgdm_engine* engine, const char** json) {
  thread_local std::string text;
  return guarded([&] {
    required(json, "json") = nullptr;
    text = fgdm::metrics_json(required(engine, "engine").engine->metrics());
    *json = text.c_str();
    return FGDM_OK;
  });
}

extern "C" fgdm_status fgdm_submit(fgdm_engine* engine, const char* request,
                                   const fgdm_array* arrays, size_t num_arrays,
                                   const fgdm_callbacks* callbacks, fgdm_job** job) {
  return guarded([&] {
    required(job, "job") = nullptr;
    auto& owner = required(engine, "engine");
    auto parsed = fgdm::parse_request(&required(request, "request"));
    if (num_arrays > 0)
      fgdm::c::set_arrays(parsed, std::span(&required(arrays, "arrays"), num_arrays));
    const auto called = callbacks == nullptr ? fgdm_callbacks{} : *callbacks;
    if (called.on_select != nullptr)
      parsed.select = fgdm::SelectBy::callback;
    const auto submitted =
        owner.engine->submit(std::move(parsed), fgdm::c::step_callback(called),
                             fgdm::c::map_callback(called), fgdm::c::select_callback(called));
    auto handle = std::unique_ptr<fgdm_job>(new fgdm_job{submitted, owner.info, {}, {}});
    *job = handle.get();  // on_done may be called at once, and wants to know it
    if (called.on_done != nullptr)
      tell_when_done(submitted, called, job);
    static_cast<void>(handle.release());
    return FGDM_OK;
  });
}

extern "C" void fgdm_set_logger(void (*logger)(void* context, fgdm_level level,
                                               const char* message),
                                void* context) {
  guarded([&] {
    if (logger == nullptr)
      fgdm::set_logger({});
    else
      fgdm::set_logger([=](fgdm::LogLevel level, std::string_view message) {
        logger(context, level == fgdm::LogLevel::warning ? FGDM_WARNING : FGDM_INFO,
               std::string(message).c_str());
      });
    return FGDM_OK;
  });
}
