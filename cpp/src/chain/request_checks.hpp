#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fgdm/error.hpp"
#include "fgdm/request.hpp"
#include "request.hpp"
#include "wording.hpp"

namespace fgdm {

// Checks of one option each, under the name that the caller knows it by. All throw RequestError.

template <typename T> void require_between(const std::string& name, T value, T least, T most) {
  if (!(value >= least && value <= most))  // also false for NaN
    throw RequestError(name + " is " + shown(value) + ", expected " + shown(least) + " to " +
                       shown(most));
}

template <typename T>
void check_optional(const std::string& name, const std::optional<T>& value, T least, T most) {
  if (value)
    require_between(name, *value, least, most);
}

void check_text(const std::string& name, const std::string& text);
void check_interval(const std::string& name, const Interval& interval);
void check_spacing(const std::string& name, TimestepSpacing spacing, SamplerKind sampler);

// Fills in and checks a factor's cache; `prefix` comes before the options' names.
void resolve_cache(std::optional<int>& interval, std::optional<int>& level,
                   const std::string& prefix, const Manifest& manifest, const FactorSpec& factor);

// `rows` finite latents of that size, or none. shape: what the caller says of them, or nothing.
void check_latents(const std::string& name, const std::vector<float>& latents,
                   const std::vector<std::int64_t>& shape, int rows, const Manifest& manifest,
                   const FactorSize& size);

// Of that size, with `channels` bytes a pixel. `whose` is the size's, such as "the image's".
void check_picture(const std::string& name, const Pixels& picture, const FactorSize& size,
                   std::size_t channels, const std::string& whose);

}  // namespace fgdm
