#include "processor.hpp"

#include <fstream>
#include <initializer_list>
#include <string_view>

namespace fgdm {
namespace {

// What /proc/cpuinfo says of its first processor under the first of these fields it has; "" if it
// has none.
std::string cpuinfo(std::initializer_list<std::string_view> fields) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    for (const auto field : fields)
      if (line.starts_with(field))
        if (const auto colon = line.find(": "); colon != std::string::npos)
          return line.substr(colon + 2);
  return "";
}

}  // namespace

std::string processor_name() {
  const auto name = cpuinfo({"model name", "Model", "Processor"});
  return name.empty() ? "unknown processor" : name;
}

Bfloat16 processor_bfloat16() {
  const auto flags = cpuinfo({"flags"});
  if (flags.find("amx_bf16") != std::string::npos)
    return Bfloat16::tiles;
  return flags.find("avx512_bf16") != std::string::npos ? Bfloat16::vectors : Bfloat16::none;
}

}  // namespace fgdm
