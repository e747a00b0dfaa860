#pragma once

#include <string>

#include "fgdm/error.hpp"
#include "fgdm/fgdm.h"

namespace fgdm::c {

// The number of the exception that is being handled, whose message becomes this thread's last
// error.
fgdm_status status_of_current() noexcept;

// What a function of C does: its body's status, or that of what the body throws.
template <typename Body> fgdm_status guarded(const Body& body) noexcept {
  try {
    return body();
  } catch (...) {
    return status_of_current();
  }
}

// Throws RequestError for an argument that mustn't be NULL.
template <typename T> T& required(T* pointer, const char* name) {
  if (pointer == nullptr)
    throw RequestError(std::string(name) + " is NULL");
  return *pointer;
}

}  // namespace fgdm::c
