#pragma once

#include <span>

#include "fgdm/fgdm.h"
#include "fgdm/request.hpp"

namespace fgdm::c {

// Copies arrays to where their names say. Throws RequestError for an unknown name, or a type or
// shape that the name doesn't have.
void set_arrays(Request& request, std::span<const fgdm_array> arrays);

}  // namespace fgdm::c
