#pragma once

#include <cstddef>
#include <memory>
#include <span>

namespace fgdm {

// Bytes, and who keeps them: they stay as they are as long as a copy of `owner` is there. Without
// an owner they do as long as whoever gave them promises to.
struct Bytes {
  std::span<const std::byte> data;
  std::shared_ptr<const void> owner = {};
};

}  // namespace fgdm
