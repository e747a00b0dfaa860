#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

#include "fgdm/api.h"

namespace fgdm {

// The root of every exception that the engine throws on purpose. A message says what was given,
// what was expected and what to do. Of one that is longer than `max_size` bytes, because it quotes
// a file, a request or a runtime, the middle is left out.
class FGDM_API Error : public std::runtime_error {
public:
  static constexpr std::size_t max_size = 2000;

  explicit Error(const std::string& message);
};

// A bundle cannot be used: a file is missing, damaged, or says something the engine doesn't know.
class FGDM_API BundleError : public Error {
public:
  using Error::Error;
};

// An argument of a call is wrong; the same call with a corrected argument can succeed.
class FGDM_API RequestError : public Error {
public:
  using Error::Error;
};

// A runtime or device failed, or lacks what was asked of it.
class FGDM_API BackendError : public Error {
public:
  using Error::Error;
};

// Host or device memory ran out; a smaller batch or picture can succeed.
class FGDM_API OutOfMemoryError : public Error {
public:
  using Error::Error;
};

// The caller cancelled the request before it was done.
class FGDM_API CancelledError : public Error {
public:
  using Error::Error;
};

// The engine has as many requests waiting as it takes; the same call can succeed a little later.
class FGDM_API QueueFullError : public Error {
public:
  using Error::Error;
};

// The request's deadline passed before it was done.
class FGDM_API DeadlineError : public Error {
public:
  using Error::Error;
};

}  // namespace fgdm
