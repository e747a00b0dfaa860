#pragma once

#include <string>

#include "fgdm/log.hpp"

namespace fgdm {

// Tells the process's logger, if there is one.
void tell(LogLevel level, const std::string& message) noexcept;

}  // namespace fgdm
