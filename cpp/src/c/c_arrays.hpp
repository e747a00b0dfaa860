#pragma once

#include <span>

#include "fgdm/fgdm.h"
#include "fgdm/pixels.hpp"
#include "fgdm/request.hpp"

namespace fgdm::c {

// Copies arrays to where their names say. Throws RequestError for an unknown name, or a type or
// shape that the name doesn't have.
void set_arrays(Request& request, std::span<const fgdm_array> arrays);

// The same pixels, which have to outlive what is made of them. data: NULL where there are none.
fgdm_pixels lent(const Pixels& pixels);

}  // namespace fgdm::c
