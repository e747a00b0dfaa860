#pragma once

#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "ort_api.hpp"

namespace fgdm::ort {

// Throws what a status says, if it says anything, behind `what` was tried: OutOfMemoryError or
// BackendError.
void check(const Table& api, Status* status, const std::string& what);

// Sessions are made one after another, and plugins registered, whoever opens engines from whatever
// thread: the runtime changes its environment's lists without a lock, and two in the making race
// inside it.
std::mutex& environment_mutex();

// 31 of "1.31.1", which is the interface version too; 0 of what isn't 1.
int minor_version(std::string_view version);

// Owns one of the runtime's objects.
template <typename T, typename Release> class Handle {
public:
  explicit Handle(const Table& api) : api_(api) {}
  ~Handle() { reset(); }
  Handle(Handle&& other) noexcept
      : api_(other.api_), value_(std::exchange(other.value_, nullptr)) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  Handle& operator=(Handle&&) = delete;

  void reset() {
    if (value_ != nullptr)
      api_.template call<Release>(std::exchange(value_, nullptr));
  }
  T* get() const { return value_; }
  T** out() { return &value_; }

private:
  Table api_;
  T* value_ = nullptr;
};

using MemoryHandle = Handle<MemoryInfo, ReleaseMemoryInfo>;
using ValueHandle = Handle<Value, ReleaseValue>;

// The description of the processor's memory.
MemoryHandle cpu_memory(const Table& api);

}  // namespace fgdm::ort
