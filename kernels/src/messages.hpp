#pragma once

#include <cstdio>

namespace fgdm::kernels {

// A printf-style message, valid until this thread's next one. Refusals are rare: a buffer of the
// thread's own keeps the C interface free of memory that somebody must release.
template <typename... Values> const char* message(const char* format, Values... values) {
  static thread_local char text[160];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

}  // namespace fgdm::kernels
