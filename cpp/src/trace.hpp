#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

namespace fgdm {

// A timeline in the Trace Event Format, which Perfetto and chrome://tracing open. Events are
// written as they come, so that a killed process leaves a file that still opens. For one thread.
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
  void request(std::int64_t number, Clock::time_point begin, const char* end);

private:
  void event(const std::string& fields, Clock::time_point at);

  std::ofstream file_;
  Clock::time_point began_ = Clock::now();
};

}  // namespace fgdm
