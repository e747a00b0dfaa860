#include "fgdm/error.hpp"

#include "wording.hpp"

namespace fgdm {
namespace {

// UTF-8 stays UTF-8.
std::string without_middle(const std::string& message) {
  if (message.size() <= Error::max_size)
    return message;
  auto end = message.size() - Error::max_size / 4;
  while (end < message.size() && (static_cast<unsigned char>(message[end]) & 0xC0U) == 0x80U)
    ++end;
  return excerpt(message, Error::max_size * 3 / 4 - 3) + message.substr(end);
}

}  // namespace

Error::Error(const std::string& message) : std::runtime_error(without_middle(message)) {}

}  // namespace fgdm
