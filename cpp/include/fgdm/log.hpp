#pragma once

#include <functional>
#include <string_view>

#include "fgdm/api.h"

namespace fgdm {

enum class LogLevel { info, warning };

// Takes one line, UTF-8 without its end.
using Logger = std::function<void(LogLevel level, std::string_view message)>;

// Gives what engines have to tell to `logger`, in place of the one before; an empty one ends it.
// Without a logger nothing is told to anybody. An engine tells how it was opened (info), and what
// its users should know: notes() and batches that failed and are run again (warning).
//
// Can be called from any thread; returns when no other thread is in the logger before. A logger is
// called from any thread, one call at a time. It mustn't call fgdm, and what it throws is dropped.
FGDM_API void set_logger(Logger logger);

}  // namespace fgdm
