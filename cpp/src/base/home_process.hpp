#pragma once

#include <unistd.h>

#include <string>

#include "fgdm/error.hpp"

namespace fgdm {

// The process that an object with a thread was made in. A forked child gets a copy of the object
// and of whatever locks were held, but not the thread: it must not touch either.
class HomeProcess {
public:
  bool is_here() const { return ::getpid() == id_; }

  // Throws RequestError that names `what` in a child.
  void check(const std::string& what) const {
    if (!is_here())
      throw RequestError(what + " belongs to process " + std::to_string(id_) +
                         " and can't be used in its forked child " + std::to_string(::getpid()) +
                         "; open an engine in the child");
  }

private:
  pid_t id_ = ::getpid();
};

}  // namespace fgdm
