#pragma once

#include "fgdm/bundle.hpp"
#include "request.hpp"

namespace fgdm {

// Checks what a request inverts or edits, and sets the options that say how that factor is sampled.
// Its image has a size. Throws RequestError for what doesn't fit, and for options that contradict.
void resolve_editing(Request& request, const Manifest& manifest);

// Throws RequestError for an inversion of another bundle.
void check_inversion(const Request& resolved, const Bundle& bundle);

// What is inverted or edited in a factor; nullptr: nothing.
const Editing* editing_of(const Request& request, const FactorSpec& factor);

// Likewise, whether it is inverted.
bool is_inverted(const Request& request, const FactorSpec& factor);

// The SHA-256 of a bundle's manifest.
std::string manifest_sha256(const Bundle& bundle);

}  // namespace fgdm
