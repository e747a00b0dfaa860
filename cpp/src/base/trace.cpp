#include "trace.hpp"

#include <cerrno>
#include <charconv>
#include <system_error>

#include "fgdm/error.hpp"

namespace fgdm {
namespace {

// Whole nanoseconds as microseconds, with a point in every locale.
std::string microseconds(Trace::Clock::duration duration) {
  const double value = std::chrono::duration<double, std::micro>(duration).count();
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::fixed, 3).ptr;
  return {text, end};
}

std::string number(std::int64_t value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

}  // namespace

std::string json_text(std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      quoted += "\\u00";
      quoted += digits[byte >> 4U];
      quoted += digits[byte & 15U];
    } else {
      if (c == '"' || c == '\\')
        quoted += '\\';
      quoted += c;
    }
  }
  return quoted + '"';
}

Trace::Trace(const std::filesystem::path& file) : name_(file.string()) {
  if (file.empty())
    return;
  std::error_code unknown;  // a pipe would be waited for
  if (!std::filesystem::is_fifo(file, unknown))
    file_.open(file, std::ios::trunc);
  if (!file_.is_open())
    throw RequestError("trace: " + name_ +
                       " can't be written; give a file in a folder that exists");
  write(R"([{"ph":"M","pid":1,"name":"process_name","args":{"name":"fgdm"}})");
}

Trace::~Trace() {
  write("\n]\n");
}

std::string Trace::problem() const {
  if (const int error = lost_)
    return "the trace " + name_ + " is incomplete: it couldn't be written (" +
           std::generic_category().message(error) + "); give a file where there is room";
  return "";
}

// At once, so that a loss is known, and a killed process leaves all that happened.
void Trace::write(const std::string& text) {
  if (!file_.is_open() || lost_ != 0)
    return;
  errno = 0;
  file_ << text << std::flush;
  if (!file_)
    lost_ = errno == 0 ? EIO : errno;
}

void Trace::event(const std::string& fields, Clock::time_point at) {
  write(",\n{\"pid\":1,\"ts\":" + microseconds(at - began_) + ',' + fields + '}');
}

void Trace::span(const char* track, const std::string& name, Clock::time_point begin,
                 std::int64_t rows) {
  if (!file_.is_open())
    return;
  event(R"("ph":"X","tid":)" + json_text(track) + R"(,"name":)" + json_text(name) + R"(,"dur":)" +
            microseconds(Clock::now() - begin) + R"(,"args":{"rows":)" + number(rows) + "}",
        begin);
}

void Trace::request(std::int64_t id, Clock::time_point begin, const char* end) {
  if (!file_.is_open())
    return;
  const auto common = R"("cat":"request","name":"request )" + number(id) + R"(","id":)" +
                      number(id) + R"(,"tid":"requests")";
  event(R"("ph":"b",)" + common, begin);
  event(R"("ph":"e","args":{"end":)" + json_text(end) + "}," + common, Clock::now());
}

}  // namespace fgdm
