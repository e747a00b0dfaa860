#include "log_lines.hpp"

#include <pthread.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "fgdm/log.hpp"
#include "interpreter.hpp"

namespace fgdm::python {
namespace {

namespace py = pybind11;

struct Line {
  LogLevel level;
  std::string message;
};

// What nobody takes mustn't fill the memory: with more lines than these, the oldest goes.
constexpr std::size_t most_lines = 1000;

// At the end, the last lines are waited for so long: whose handlers never return mustn't keep the
// process.
constexpr std::chrono::seconds longest_wait(5);

class LogLines {
public:
  void add(LogLevel level, std::string_view message) {
    const std::scoped_lock lock(mutex_);
    if (lines_.size() == most_lines)
      lines_.pop_front();
    lines_.push_back({level, std::string(message)});
    changed_.notify_all();
  }

  // Gives lines to a function of Python's from now on, unless they already are.
  void start(py::handle hand_on) {
    const Unlocked unlocked;
    const std::scoped_lock lock(mutex_);
    if (running_)
      return;
    // The interpreter's own threads may be another library's imitations, which mustn't block.
    std::thread([this, hand_on] { run(hand_on); }).detach();
    running_ = true;
  }

  // Waits until the last line has been handed on.
  void end() {
    const Unlocked unlocked;
    std::unique_lock lock(mutex_);
    ended_ = true;
    changed_.notify_all();
    changed_.wait_for(lock, longest_wait, [&] { return !running_; });
  }

private:
  void run(py::handle hand_on) {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return ended_ || !lines_.empty(); });
      if (lines_.empty())
        break;
      const auto line = std::move(lines_.front());
      lines_.pop_front();
      lock.unlock();
      in_interpreter([&] { give(hand_on, line); });
      lock.lock();
    }
    running_ = false;
    changed_.notify_all();
  }

  static void give(py::handle hand_on, const Line& line) {
    const auto& [level, message] = line;
    try {
      const auto text = py::reinterpret_steal<py::object>(PyUnicode_DecodeUTF8(
          message.data(), static_cast<py::ssize_t>(message.size()), "replace"));
      hand_on(level == LogLevel::warning, text);
    } catch (py::error_already_set& error) {
      error.discard_as_unraisable("a handler of the log");
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Line> lines_;
  bool running_ = false, ended_ = false;
};

// The process's. Never destroyed: a thread may wait in it until the process ends.
LogLines* lines = new LogLines;

}  // namespace

void bind_log_lines(py::module_& module) {
  // A forked child has none of the threads that may hold the parent's lock.
  pthread_atfork(nullptr, nullptr, [] { lines = new LogLines; });
  set_logger([](LogLevel level, std::string_view message) { lines->add(level, message); });
  module.def("start_log", [](const py::object& hand_on) {
    // It lives as long as the process: who calls it may be on its way when that ends.
    static const py::handle kept = hand_on.inc_ref();
    lines->start(kept);
  });
  module.def("end_log", [] { lines->end(); });
}

}  // namespace fgdm::python
