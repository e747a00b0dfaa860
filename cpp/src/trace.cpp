#include "trace.hpp"

#include "fgdm/error.hpp"

namespace fgdm {
namespace {

double microseconds(Trace::Clock::duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

}  // namespace

Trace::Trace(const std::filesystem::path& file) {
  if (file.empty())
    return;
  file_.open(file, std::ios::trunc);
  if (!file_)
    throw RequestError("trace: " + file.string() +
                       " can't be written; give a file in a folder that exists");
  file_ << std::fixed << R"([{"ph":"M","pid":1,"name":"process_name","args":{"name":"fgdm"}})";
}

Trace::~Trace() {
  if (file_.is_open())
    file_ << "\n]\n";
}

void Trace::event(const std::string& fields, Clock::time_point at) {
  file_ << ",\n{\"pid\":1,\"ts\":" << microseconds(at - began_) << ',' << fields << '}';
}

void Trace::span(const char* track, const std::string& name, Clock::time_point begin,
                 std::int64_t rows) {
  if (!file_.is_open())
    return;
  const double duration = microseconds(Clock::now() - begin);
  event(R"("ph":"X","tid":")" + std::string(track) + R"(","name":")" + name + R"(","dur":)" +
            std::to_string(duration) + R"(,"args":{"rows":)" + std::to_string(rows) + "}",
        begin);
}

void Trace::request(std::int64_t number, Clock::time_point begin, const char* end) {
  if (!file_.is_open())
    return;
  const auto common = R"("cat":"request","name":"request )" + std::to_string(number) +
                      R"(","id":)" + std::to_string(number) + R"(,"tid":"requests")";
  event(R"("ph":"b",)" + common, begin);
  event(R"("ph":"e","args":{"end":")" + std::string(end) + "\"}," + common, Clock::now());
}

}  // namespace fgdm
