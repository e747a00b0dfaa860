#include "log.hpp"

#include <pthread.h>

#include <mutex>
#include <utility>

namespace fgdm {
namespace {

struct ProcessLogger {
  std::mutex mutex;
  Logger logger;
};

ProcessLogger& process_logger();

// Never destroyed: engines may be closed by destructors at the process's end. No line is being told
// while the process is forked: the child would find the lock taken for ever.
ProcessLogger* new_logger() {
  pthread_atfork([] { process_logger().mutex.lock(); }, [] { process_logger().mutex.unlock(); },
                 [] { process_logger().mutex.unlock(); });
  return new ProcessLogger;
}

ProcessLogger& process_logger() {
  static auto* const shared = new_logger();
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
