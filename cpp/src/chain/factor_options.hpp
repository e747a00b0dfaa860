#pragma once

#include "fgdm/manifest.hpp"
#include "fgdm/request.hpp"

namespace fgdm {

// Fills in and checks what a request says about its condition factors, once its options for all of
// them and the image's size are known. Throws RequestError.
void resolve_factors(Request& request, const Manifest& manifest);

// Of what is asked for, with which a map of the factor has won; 0: none has.
double share_that_wins(const Request& request, const FactorOptions& factor);

}  // namespace fgdm
