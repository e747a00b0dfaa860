#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "fgdm/api.h"

namespace fgdm {

// The SHA-256 digest of a stream of bytes (FIPS 180-4).
class FGDM_API Sha256 {
public:
  // `automatic` uses the processor's SHA instructions (x86-64) where it has them.
  enum class Implementation { automatic, portable, accelerated };

  // True if this build and this processor have `accelerated`.
  static bool is_accelerated();

  // Throws BackendError for `accelerated` where it doesn't exist.
  explicit Sha256(Implementation implementation = Implementation::automatic);

  void update(std::span<const std::byte> bytes);

  // The digest of everything so far as 64 lower-case hexadecimal digits; more updates may follow.
  std::string hex() const;

private:
  using Compress = void (*)(std::array<std::uint32_t, 8>& state, const std::byte* blocks,
                            std::size_t num_blocks);

  Compress compress_;
  std::array<std::uint32_t, 8> state_;
  std::array<std::byte, 64> pending_{};  // the last size_ % 64 bytes, not yet in state_
  std::uint64_t size_ = 0;               // of everything so far, in bytes
};

// The digest of a file's content, as Sha256::hex(). Throws BundleError if it cannot be read.
FGDM_API std::string sha256_file(const std::filesystem::path& path);

}  // namespace fgdm
