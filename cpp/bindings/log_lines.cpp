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
  explicit LogLines(py::handle hand_on) : hand_on_(hand_on) {}

  py::handle hand_on() const { return hand_on_; }

  // The first line starts the thread. It is none of the interpreter's: those may be another
  // library's imitations, which mustn't block.
  void add(LogLevel level, std::string_view message) {
    const std::scoped_lock lock(mutex_);
    if (ended_)
      return;
    if (lines_.size() == most_lines)
      lines_.pop_front();
    lines_.push_back({level, std::string(message)});
    changed_.notify_all();
    if (running_)
      return;
    std::thread([this] { run(); }).detach();
    running_ = true;
  }

  // Waits until the last line has been handed on; no more are taken.
  void end() {
    const Unlocked unlocked;
    std::unique_lock lock(mutex_);
    ended_ = true;
    changed_.notify_all();
    changed_.wait_for(lock, longest_wait, [&] { return !running_; });
  }

private:
  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return ended_ || !lines_.empty(); });
      if (lines_.empty())
        break;
      const auto line = std::move(lines_.front());
      lines_.pop_front();
      lock.unlock();
      in_interpreter("a handler of the log", [&] {
        const auto& [level, message] = line;
        const auto text = py::reinterpret_steal<py::object>(PyUnicode_DecodeUTF8(
            message.data(), static_cast<py::ssize_t>(message.size()), "replace"));
        hand_on_(level == LogLevel::warning, text);
      });
      lock.lock();
    }
    running_ = false;
    changed_.notify_all();
  }

  const py::handle hand_on_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Line> lines_;
  bool running_ = false, ended_ = false;
};

// The process's. Never destroyed, nor is its function: a thread may be in them until the process
// ends. A forked child has another: it has none of the threads that may hold the parent's lock.
LogLines* log_lines = nullptr;

void hand_lines_to(const py::object& hand_on) {
  log_lines = new LogLines(hand_on.inc_ref());
  pthread_atfork(nullptr, nullptr, [] { log_lines = new LogLines(log_lines->hand_on()); });
  set_logger([](LogLevel level, std::string_view message) { log_lines->add(level, message); });
}

}  // namespace

void bind_log_lines(py::module_& module) {
  module.def("hand_lines_to", &hand_lines_to, py::arg("function"));
  module.def("end_log", [] { log_lines->end(); });
}

}  // namespace fgdm::python
