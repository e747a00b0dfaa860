#pragma once

#include <cstdint>
#include <vector>

#include "fgdm/manifest.hpp"
#include "fgdm/request.hpp"

namespace fgdm {

// Checks every option of a request and fills in the manifest's defaults: `factors` has every
// condition factor, with all its options. The request's own options for all condition factors stay
// unset where the factors' defaults differ. Throws RequestError that names the option, its value
// and what is allowed.
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

// Which of a factor's steps go through the outer levels of its backbone alone.
CacheConfig factor_cache(const Request& resolved, const FactorSpec& factor);

// The sampler of a factor in a resolved request, its timesteps' spacing, its steps, and the first
// of them that is taken: not 0 where a picture is noised to a strength.
SamplerKind factor_sampler(const Request& resolved, const FactorSpec& factor);
TimestepSpacing factor_spacing(const Request& resolved, const FactorSpec& factor);
int factor_steps(const Request& resolved, const FactorSpec& factor);
int factor_first_step(const Request& resolved, const FactorSpec& factor);

// Whether a request brings a picture that the image begins with.
bool has_image(const Request& request);

// The initial latents that a resolved request gives a factor, on the host or on the device; none:
// noise of the seed.
const std::vector<float>& factor_latents(const Request& resolved, const FactorSpec& factor);
const DeviceArray& factor_latents_on_device(const Request& resolved, const FactorSpec& factor);

// Whether the image is sampled together with maps, and how many images are sampled: one for each
// candidate of those maps, else one.
bool is_image_joint(const Request& resolved, const Manifest& manifest);
int images(const Request& resolved, const Manifest& manifest);

// Whether a map was given for a condition factor and is taken as it is; whether it has no map.
bool is_given(const Request& resolved, const FactorSpec& factor);
bool is_left_out(const Request& resolved, const FactorSpec& factor);

// The factors that are sampled, by their places in the chain: each group is sampled together, one
// group after another.
std::vector<std::vector<std::uint32_t>> factor_groups(const Request& resolved,
                                                      const Manifest& manifest);

// Backbone rows of the first step of all that a resolved request begins with.
std::int64_t first_rows(const Request& resolved, const Manifest& manifest);

}  // namespace fgdm
