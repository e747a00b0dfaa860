#pragma once

#include "fgdm/manifest.hpp"

namespace fgdm {

// Checks that a manifest's factors are a chain that this version runs: in order, of sizes that fit,
// each with what it names. Throws BundleError that says what is allowed.
void check_chain(const Manifest& manifest);

}  // namespace fgdm
