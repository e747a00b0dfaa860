#include "precision.hpp"

#include "fgdm/error.hpp"

namespace fgdm {

void check_precision(const std::string& asked, const std::string& made, const std::string& what) {
  if (asked == "auto" || asked == made)
    return;
  if (asked != "fp32" && asked != "fp16" && asked != "bf16")
    throw RequestError("precision is \"" + asked +
                       "\", expected \"auto\", \"fp32\", \"fp16\" or \"bf16\"");
  throw BackendError("precision \"" + asked + "\" was asked for, but the bundle's " + what +
                     " are " + made +
                     "; use precision \"auto\", or export the bundle with "
                     "--precision " +
                     (asked == "fp16" ? "fp16" : "fp32"));
}

std::string finer_precision(const std::string& precision) {
  if (precision == "bf16")
    return "precision \"fp32\" usually helps; ";
  if (precision == "fp16")
    return "a bundle exported with --precision fp32 usually helps; ";
  return "";
}

}  // namespace fgdm
