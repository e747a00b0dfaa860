#pragma once

#include <nlohmann/json.hpp>

#include "fgdm/request.hpp"

namespace fgdm {

// As parse_request() of fgdm/json.hpp, from a value that was parsed, or was never text.
Request request_from(const nlohmann::json& options);

// Every option of a resolved request, in the form that request_from() takes; of pictures, maps and
// latents "given" or null, and the names of control images.
nlohmann::ordered_json parameters_of(const Request& request);

// What an inversion was made with.
nlohmann::ordered_json parameters_of(const InversionSettings& settings);

}  // namespace fgdm
