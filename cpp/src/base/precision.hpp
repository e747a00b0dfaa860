#pragma once

#include <string>

namespace fgdm {

// Checks EngineOptions::precision against the type that graphs or plans (`what`) were made with,
// "fp32" or "fp16". Throws RequestError for an unknown word, BackendError for another type: neither
// can be changed once they are made.
void check_precision(const std::string& asked, const std::string& made, const std::string& what);

// Half a sentence with what to do about numbers that overflow in this precision; "" in "fp32".
std::string finer_precision(const std::string& precision);

}  // namespace fgdm
