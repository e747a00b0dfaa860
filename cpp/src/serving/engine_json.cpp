#include <nlohmann/json.hpp>

#include "fgdm/error.hpp"
#include "fgdm/json.hpp"
#include "fgdm/manifest.hpp"
#include "fgdm/version.hpp"
#include "files.hpp"
#include "json_options.hpp"

namespace fgdm {
namespace {

using nlohmann::ordered_json;

std::string text_of(const ordered_json& value) {
  return value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

void read_path(JsonOptions& options, const char* name, std::filesystem::path& target) {
  auto text = target.string();
  options.read(name, text);
  target = text;
}

}  // namespace

EngineOptions parse_engine_options(std::string_view text) {
  nlohmann::json parsed;
  try {
    parsed = parse_json(text);
  } catch (const BundleError& error) {
    throw RequestError(std::string("the engine's options can't be read: ") + error.what());
  }
  JsonOptions given("", parsed);
  EngineOptions options;
  given.read("backend", options.backend);
  given.read("precision", options.precision);
  given.read("threads", options.threads);
  read_path(given, "library", options.library);
  read_path(given, "tensorrt_library", options.tensorrt_library);
  std::vector<std::string> plugins;
  given.read("plugins", plugins);
  options.plugins.assign(plugins.begin(), plugins.end());
  given.read("device", options.device);
  given.read("max_batch_rows", options.max_batch_rows);
  given.read("max_queue", options.max_queue);
  given.read("max_active", options.max_active);
  given.read("policy", options.policy);
  read_path(given, "profile", options.profile);
  read_path(given, "trace", options.trace);
  given.read("memory", options.memory);
  given.read("attention", options.attention);
  read_path(given, "contexts", options.contexts);
  std::uint64_t stream = 0;
  given.read("stream", stream);
  options.stream = reinterpret_cast<void*>(stream);
  if (const auto* forbid = given.find("forbid"))
    options.forbid = forbid->dump();
  given.check_all_read();
  return options;
}

EngineInfo engine_info(const Engine& engine) {
  const auto manifest = Manifest::parse(engine.manifest_json());
  EngineInfo info{FGDM_VERSION,
                  manifest.name,
                  engine.backend(),
                  engine.precision(),
                  engine.runtime(),
                  engine.attention(),
                  {},
                  {engine.notes().begin(), engine.notes().end()},
                  engine.load_seconds()};
  for (const auto& factor : manifest.factors)
    info.factors.push_back(factor.name);
  return info;
}

std::string engine_json(const EngineInfo& info) {
  return text_of({{"version", info.version},
                  {"bundle", info.bundle},
                  {"backend", info.backend},
                  {"precision", info.precision},
                  {"runtime", info.runtime},
                  {"attention", info.attention},
                  {"factors", info.factors},
                  {"notes", info.notes},
                  {"load_seconds", info.load_seconds}});
}

std::string metrics_json(const Metrics& metrics) {
  auto rows = ordered_json::object();
  for (const auto& [count, batches] : metrics.batches_of_rows)
    rows[std::to_string(count)] = batches;
  return text_of({{"accepted", metrics.accepted},
                  {"finished", metrics.finished},
                  {"failed", metrics.failed},
                  {"cancelled", metrics.cancelled},
                  {"refused", metrics.refused},
                  {"queued", metrics.queued},
                  {"active", metrics.active},
                  {"batches", metrics.batches},
                  {"rows", metrics.rows},
                  {"batches_of_rows", std::move(rows)},
                  {"waiting_rows", metrics.waiting_rows},
                  {"padding", metrics.padding},
                  {"rows_saved", metrics.rows_saved},
                  {"candidates_failed", metrics.candidates_failed},
                  {"context_hits", metrics.context_hits},
                  {"context_misses", metrics.context_misses},
                  {"retries", metrics.retries},
                  {"queue_seconds", metrics.queue_seconds},
                  {"session_seconds", metrics.session_seconds}});
}

}  // namespace fgdm
