#pragma once

#include <string>

#include "fgdm/error.hpp"
#include "json_field.hpp"
#include "wording.hpp"

namespace fgdm {

// Throws BundleError for a manifest that cannot be used.
[[noreturn]] inline void refuse_manifest(const std::string& what) {
  throw BundleError("manifest.json: " + excerpt(what, 500) +
                    "; export the bundle again, or fetch a fresh copy of it");
}

using ManifestField = JsonField<refuse_manifest>;

}  // namespace fgdm
