#include "log_lines.hpp"

#include <pthread.h>
#include <pybind11/stl.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "fgdm/log.hpp"
#include "interpreter.hpp"

namespace fgdm::python {
namespace {

// Whether it is a warning, and the line.
using Line = std::pair<bool, std::string>;

// What nobody takes mustn't fill the memory: with more lines than these, the oldest goes.
constexpr std::size_t most_lines = 1000;

class LogLines {
public:
  void add(LogLevel level, std::string_view message) {
    const std::scoped_lock lock(mutex_);
    if (lines_.size() == most_lines)
      lines_.pop_front();
    lines_.emplace_back(level == LogLevel::warning, message);
    changed_.notify_one();
  }

  // Waits for one; none when no more will come.
  std::optional<Line> next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_ || !lines_.empty(); });
    if (lines_.empty())
      return std::nullopt;
    auto line = std::move(lines_.front());
    lines_.pop_front();
    return line;
  }

  void end() {
    const std::scoped_lock lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Line> lines_;
  bool ended_ = false;
};

// The process's. Never destroyed: a thread may wait in it until the process ends.
LogLines* lines = new LogLines;

}  // namespace

void bind_log_lines(pybind11::module_& module) {
  // A forked child has none of the threads that may hold the parent's lock.
  pthread_atfork(nullptr, nullptr, [] { lines = new LogLines; });
  set_logger([](LogLevel level, std::string_view message) { lines->add(level, message); });
  module.def("next_log_line", [] {
    const Unlocked unlocked;
    return lines->next();
  });
  module.def("end_log", [] { lines->end(); });
}

}  // namespace fgdm::python
