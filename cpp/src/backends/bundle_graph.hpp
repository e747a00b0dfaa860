#pragma once

#include <string>

#include "fgdm/bundle.hpp"
#include "fgdm/ort_session.hpp"

namespace fgdm {

// A graph where its bundle has it: in a file, or in an archive with all that its weights may lie
// in, which a model calls by their places beside it. Throws BundleError.
OrtGraph graph_of(const Bundle& bundle, const std::string& name);

}  // namespace fgdm
