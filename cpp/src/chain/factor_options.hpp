#pragma once

#include "fgdm/manifest.hpp"
#include "fgdm/request.hpp"

namespace fgdm {

// Fills in and checks what a request says about its condition factors, once its options for all of
// them and the image's size are known. Throws RequestError.
void resolve_factors(Request& request, const Manifest& manifest);

}  // namespace fgdm
