#include "log.hpp"

#include <mutex>
#include <utility>

namespace fgdm {
namespace {

struct ProcessLogger {
  std::mutex mutex;
  Logger logger;
};

// Never destroyed: engines may be closed by destructors at the process's end.
ProcessLogger& process_logger() {
  static auto* const shared = new ProcessLogger;
  return *shared;
}

}  // namespace

void set_logger(Logger logger) {
  auto& shared = process_logger();
  const std::scoped_lock lock(shared.mutex);
  shared.logger.swap(logger);
}

void tell(LogLevel level, const std::string& message) noexcept {
  try {
    auto& shared = process_logger();
    const std::scoped_lock lock(shared.mutex);
    if (shared.logger)
      shared.logger(level, message);
  } catch (...) {  // who gave it was told so
  }
}

}  // namespace fgdm
