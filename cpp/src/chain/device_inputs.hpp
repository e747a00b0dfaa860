#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fgdm/device_array.hpp"
#include "fgdm/manifest.hpp"
#include "request.hpp"
#include "row_buffer.hpp"

namespace fgdm {

// Arrays that a request brings, which lie on the device that the engine's networks run on.

// Throws RequestError, which calls the array `name`, unless it is of that type and shape;
// `is_given_twice` says whether the same option was given on the host as well.
void check_array(const std::string& name, const DeviceArray& array, DType dtype,
                 const std::vector<std::int64_t>& shape, bool is_given_twice);

// The shapes of a picture of that size, and of `rows` latents.
std::vector<std::int64_t> picture_shape(const FactorSize& size);
std::vector<std::int64_t> latents_shape(const Manifest& manifest, const FactorSize& size, int rows);

// Throws RequestError where an array of the request doesn't lie where `exchange` says.
void check_places(const Request& request, const Exchange& exchange);

// Lets go of all arrays; what they were is still known.
void release_arrays(Request& request) noexcept;

// A picture as planes of numbers: one row.
RowBuffer planes_of(const DeviceArray& picture, const FactorSize& size, Levels levels,
                    const std::shared_ptr<Device>& device);

// The latents in row `row` of an array, times `scale`: one row. Throws RequestError, which calls
// the array `name`, where they aren't finite.
RowBuffer scaled_latents(const std::string& name, const DeviceArray& latents, std::size_t row,
                         float scale, const Manifest& manifest, const FactorSize& size,
                         const std::shared_ptr<Device>& device);

// A picture, and the latents in row `row`, on the host. Throws RequestError as above.
std::vector<std::uint8_t> bytes_of(const DeviceArray& picture, Device& device);
std::vector<float> latents_of(const std::string& name, const DeviceArray& latents, std::size_t row,
                              std::size_t elements, Device& device);

}  // namespace fgdm
