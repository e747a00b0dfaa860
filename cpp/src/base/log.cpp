#include "log.hpp"

#include <pthread.h>

#include <memory>
#include <mutex>
#include <utility>

namespace fgdm {
namespace {

struct ProcessLogger {
  std::mutex change;  // of `logger`; nobody waits with it
  std::shared_ptr<const Logger> logger;
  // Of the threads that tell something, one at a time. A forked child gets another: it has none of
  // the threads that may hold this one.
  std::unique_ptr<std::mutex> calls = std::make_unique<std::mutex>();
};

ProcessLogger& process_logger();

// Never destroyed: engines may be closed by destructors at the process's end.
ProcessLogger* new_logger() {
  pthread_atfork([] { process_logger().change.lock(); }, [] { process_logger().change.unlock(); },
                 [] {
                   auto& here = process_logger();
                   static_cast<void>(here.calls.release());
                   here.calls = std::make_unique<std::mutex>();
                   here.change.unlock();
                 });
  return new ProcessLogger;
}

ProcessLogger& process_logger() {
  static auto* const shared = new_logger();
  return *shared;
}

std::shared_ptr<const Logger> exchange_logger(std::shared_ptr<const Logger> logger) {
  const std::scoped_lock lock(process_logger().change);
  return std::exchange(process_logger().logger, std::move(logger));
}

std::shared_ptr<const Logger> current_logger() {
  const std::scoped_lock lock(process_logger().change);
  return process_logger().logger;
}

}  // namespace

void set_logger(Logger logger) {
  auto made = logger ? std::make_shared<const Logger>(std::move(logger)) : nullptr;
  std::shared_ptr<const Logger> before;  // goes when no lock is held
  const std::scoped_lock lock(*process_logger().calls);
  before = exchange_logger(std::move(made));
}

void tell(LogLevel level, const std::string& message) noexcept {
  try {
    const std::scoped_lock lock(*process_logger().calls);
    if (const auto logger = current_logger())
      (*logger)(level, message);
  } catch (...) {  // who gave it was told so
  }
}

}  // namespace fgdm
