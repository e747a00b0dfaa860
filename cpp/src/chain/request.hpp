#pragma once

#include "fgdm/manifest.hpp"
#include "fgdm/request.hpp"

namespace fgdm {

// Checks every option of a request and fills in the manifest's defaults. What all condition factors
// share stays unset where their own defaults differ: the functions below know them. Throws
// RequestError that names the option, its value and what is allowed.
Request resolve(Request request, const Manifest& manifest);

// Throws RequestError unless height and width, which are set, are such as the networks can take.
void check_image_size(const Request& request, const Manifest& manifest);

// The size a factor has in a request: the manifest's, scaled as the image is.
struct FactorSize {
  int height, width;                // pixels
  int latent_height, latent_width;  // cells
};
FactorSize factor_size(const Request& resolved, const Manifest& manifest, const FactorSpec& factor);

// The pixels of a picture, and the numbers of one latent, of that size.
std::size_t pixels(const FactorSize& size);
std::size_t latent_elements(const Manifest& manifest, const FactorSize& size);

// The guidance of a factor in a resolved request.
GuidanceConfig factor_guidance(const Request& resolved, const FactorSpec& factor);

// The weight of each conditioning network of a factor in a resolved request; 1 for adapters.
std::vector<float> conditioning_scales(const Request& resolved, const FactorSpec& factor);

// The sampler of a factor in a resolved request, and its steps.
SamplerKind factor_sampler(const Request& resolved, const FactorSpec& factor);
int factor_steps(const Request& resolved, const FactorSpec& factor);

// Of a condition factor in a resolved request: the recall with which a map has won (0: none has),
// and the part of a map from which on a class counts as found.
double factor_stop_at_recall(const Request& resolved, const FactorSpec& factor);
double factor_min_area(const Request& resolved, const FactorSpec& factor);

}  // namespace fgdm
