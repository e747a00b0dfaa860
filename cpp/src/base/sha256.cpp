#include "fgdm/sha256.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <fstream>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

#include "fgdm/error.hpp"

namespace fgdm {

namespace {

constexpr std::size_t block_size = 64;
constexpr std::size_t length_size = 8;

using State = std::array<std::uint32_t, 8>;

// FIPS 180-4, section 5.3.3.
constexpr State initial_state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

// FIPS 180-4, section 4.2.2.
alignas(16) constexpr std::uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

std::uint32_t big_endian_word(const std::byte* bytes) {
  std::uint32_t word = 0;
  for (int i = 0; i < 4; ++i)
    word = (word << 8) | std::to_integer<std::uint32_t>(bytes[i]);
  return word;
}

void compress_portable(State& state, const std::byte* blocks, std::size_t num_blocks) {
  for (; num_blocks > 0; --num_blocks, blocks += block_size) {
    std::uint32_t schedule[64];
    for (std::size_t t = 0; t < 16; ++t)
      schedule[t] = big_endian_word(blocks + 4 * t);
    for (std::size_t t = 16; t < 64; ++t) {
      const std::uint32_t w15 = schedule[t - 15];
      const std::uint32_t w2 = schedule[t - 2];
      const std::uint32_t sigma0 = std::rotr(w15, 7) ^ std::rotr(w15, 18) ^ (w15 >> 3);
      const std::uint32_t sigma1 = std::rotr(w2, 17) ^ std::rotr(w2, 19) ^ (w2 >> 10);
      schedule[t] = sigma1 + schedule[t - 7] + sigma0 + schedule[t - 16];
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (std::size_t t = 0; t < 64; ++t) {
      const std::uint32_t sum1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
      const std::uint32_t choice = (e & f) ^ (~e & g);
      const std::uint32_t first = h + sum1 + choice + round_constants[t] + schedule[t];
      const std::uint32_t sum0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
      const std::uint32_t majority = (a & b) ^ (a & c) ^ (b & c);
      h = g;
      g = f;
      f = e;
      e = d + first;
      d = c;
      c = b;
      b = a;
      a = first + sum0 + majority;
    }
    const State working = {a, b, c, d, e, f, g, h};
    for (std::size_t i = 0; i < state.size(); ++i)
      state[i] += working[i];
  }
}

#if defined(__x86_64__)

// The instructions keep the state as (A, B, E, F) and (C, D, G, H), first letter highest.
__attribute__((target("sha,sse4.1,ssse3"))) void
compress_accelerated(State& state, const std::byte* blocks, std::size_t num_blocks) {
  const auto load = [](const void* at) __attribute__((target("sha,sse4.1,ssse3"))) {
    return _mm_loadu_si128(static_cast<const __m128i*>(at));
  };
  const __m128i byte_order = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);

  const __m128i badc = _mm_shuffle_epi32(load(&state[0]), 0xB1);
  const __m128i efgh = _mm_shuffle_epi32(load(&state[4]), 0x1B);
  __m128i abef = _mm_alignr_epi8(badc, efgh, 8);
  __m128i cdgh = _mm_blend_epi16(efgh, badc, 0xF0);

  for (; num_blocks > 0; --num_blocks, blocks += block_size) {
    const __m128i abef_before = abef;
    const __m128i cdgh_before = cdgh;
    __m128i words[4];  // the last 16 words of the message schedule, four in each
    for (std::size_t group = 0; group < 16; ++group) {
      __m128i& current = words[group % 4];
      if (group < 4) {
        current = _mm_shuffle_epi8(load(blocks + 16 * group), byte_order);
      } else {
        const __m128i minus_12 = words[(group + 1) % 4];
        const __m128i minus_8 = words[(group + 2) % 4];
        const __m128i minus_4 = words[(group + 3) % 4];
        const __m128i minus_7 = _mm_alignr_epi8(minus_4, minus_8, 4);  // w[t - 7]
        current = _mm_sha256msg1_epu32(current, minus_12);
        current = _mm_sha256msg2_epu32(_mm_add_epi32(current, minus_7), minus_4);
      }
      const __m128i keyed = _mm_add_epi32(current, load(&round_constants[4 * group]));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, keyed);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(keyed, 0x0E));
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }

  const __m128i feba = _mm_shuffle_epi32(abef, 0x1B);
  const __m128i dchg = _mm_shuffle_epi32(cdgh, 0xB1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(&state[0]), _mm_blend_epi16(feba, dchg, 0xF0));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(&state[4]), _mm_alignr_epi8(dchg, feba, 8));
}

// CPUID leaf 1: SSSE3 and SSE4.1; leaf 7: SHA.
bool detect_acceleration() {
  unsigned int eax = 0;
  unsigned int ebx = 0;
  unsigned int ecx = 0;
  unsigned int edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0)
    return false;
  const bool has_sse = (ecx & bit_SSSE3) != 0 && (ecx & bit_SSE4_1) != 0;
  return has_sse && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ebx & bit_SHA) != 0;
}

#else

constexpr auto compress_accelerated = nullptr;

bool detect_acceleration() {
  return false;
}

#endif

}  // namespace

bool Sha256::is_accelerated() {
  static const bool detected = detect_acceleration();
  return detected;
}

Sha256::Sha256(Implementation implementation)
    : compress_(compress_portable), state_(initial_state) {
  if (implementation == Implementation::accelerated && !is_accelerated())
    throw BackendError(
        "SHA-256 was asked for the processor's SHA instructions, which this processor "
        "or build lacks; use Implementation::automatic");
  if (implementation != Implementation::portable && is_accelerated())
    compress_ = compress_accelerated;
}

void Sha256::update(std::span<const std::byte> bytes) {
  const std::size_t num_pending = size_ % block_size;
  size_ += bytes.size();
  if (num_pending > 0) {
    const std::size_t taken = std::min(block_size - num_pending, bytes.size());
    std::copy_n(bytes.begin(), taken, pending_.begin() + num_pending);
    bytes = bytes.subspan(taken);
    if (num_pending + taken < block_size)
      return;
    compress_(state_, pending_.data(), 1);
  }
  compress_(state_, bytes.data(), bytes.size() / block_size);
  const auto rest = bytes.last(bytes.size() % block_size);
  std::copy(rest.begin(), rest.end(), pending_.begin());
}

std::string Sha256::hex() const {
  // The padding of FIPS 180-4, section 5.1.1: a one bit, zeros, and the length in bits.
  std::array<std::byte, 2 * block_size> tail{};
  const std::size_t num_pending = size_ % block_size;
  std::copy_n(pending_.begin(), num_pending, tail.begin());
  tail[num_pending] = std::byte{0x80};
  const std::size_t num_blocks = num_pending + 1 + length_size > block_size ? 2 : 1;
  for (std::size_t i = 0; i < length_size; ++i)
    tail[num_blocks * block_size - 1 - i] = static_cast<std::byte>((8 * size_) >> (8 * i));

  State state = state_;
  compress_(state, tail.data(), num_blocks);
  std::string result;
  for (const std::uint32_t word : state)
    for (int shift = 28; shift >= 0; shift -= 4)
      result += "0123456789abcdef"[(word >> shift) & 0xF];
  return result;
}

std::string sha256_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> buffer(std::size_t{1} << 20);
  Sha256 hash;
  while (file) {
    file.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    hash.update(std::as_bytes(std::span(buffer).first(static_cast<std::size_t>(file.gcount()))));
  }
  if (!file.eof())
    throw BundleError("cannot read " + path.string() +
                      " to check its SHA-256; check that the file "
                      "exists and may be read");
  return hash.hex();
}

}  // namespace fgdm
