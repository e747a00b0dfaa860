#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace fgdm {

// A text as JSON has it: in quotes, with control characters escaped.
std::string json_text(std::string_view text);

// A timeline in the Trace Event Format, which Perfetto and chrome://tracing open. Events are
// written as they come, so that a killed process leaves a file that still opens. For one thread,
// but for problem().
class Trace {
public:
  using Clock = std::chrono::steady_clock;

  // No file: every call does nothing. Throws RequestError if the file can't be written.
  explicit Trace(const std::filesystem::path& file);
  ~Trace();
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  // Something that took from `begin` to now, on one of the tracks "sessions" and "batches".
  void span(const char* track, const std::string& name, Clock::time_point begin, std::int64_t rows);

  // A request's life, by its number.
  void request(std::int64_t id, Clock::time_point begin, const char* end);

  // What was lost because it couldn't be written, such as on a full disk; empty: nothing. Any
  // thread may ask.
  std::string problem() const;

private:
  void write(const std::string& text);
  void event(const std::string& fields, Clock::time_point at);

  std::string name_;
  std::ofstream file_;
  std::atomic<int> lost_ = 0;  // the error number of the write that failed
  Clock::time_point began_ = Clock::now();
};

}  // namespace fgdm
