#pragma once

// Runs a kernel's source on the CPU. Every thread of a block is a fibre; blocks run one after
// another. What a warp or block does together (shuffles, ldmatrix, mma, barriers) waits until all
// its threads have arrived at the same operation, and is then computed as the PTX ISA defines it,
// from the fragment layouts written down here, independently of the kernels' own index functions.
// Between such points lanes and warps run in a random order, one warp as far as it can get before
// the next; shared memory starts as NaN, and a copy's destination is NaN until the copy is waited
// for: a missing barrier, wait or bound shows.

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

#include "host_device.hpp"
#include "numbers.hpp"

namespace fgdm::kernels::test {

inline constexpr int lanes = 32;

enum class Operation { none, sync_warp, sync_block, shuffle, load, load_transposed, mma };

// The threads that wait for one another, 32 or a whole block. Ends the process with a message if
// they diverge.
class Meeting {
public:
  explicit Meeting(int size) : size_(size) {}

  // Waits for the others.
  void meet(Operation operation, const std::function<void()>& yield);

  int phase() const { return phase_; }

private:
  int size_;
  int arrived_ = 0;
  int phase_ = 0;
  Operation operation_ = Operation::none;
};

// What the lanes of a warp bring to a meeting; two sets, because a lane may already bring the next
// while another still reads this one.
struct Posted {
  std::array<const void*, lanes> addresses;
  std::array<std::uint32_t, lanes> words;
  std::array<std::array<double, 12>, lanes> numbers;
};

struct Warp {
  Meeting meeting{lanes};
  std::array<Posted, 2> posted{};
};

struct Block {
  Index3 index;
  int warps;
  std::vector<Vector16> shared;
  Meeting meeting;
  std::vector<Warp> members;
};

class EmulatedThread {
public:
  EmulatedThread(Block& block, int index, std::function<void()> yield)
      : block_(block), index_(index), yield_(std::move(yield)) {}
  EmulatedThread(const EmulatedThread&) = delete;

  int lane() const { return index_ % lanes; }
  int warp() const { return index_ / lanes; }
  int warps() const { return block_.warps; }
  Index3 block() const { return block_.index; }
  unsigned char* shared() const { return reinterpret_cast<unsigned char*>(block_.shared.data()); }

  void sync_block() { block_.meeting.meet(Operation::sync_block, yield_); }
  void sync_warp() { own().meeting.meet(Operation::sync_warp, yield_); }

  template <typename T> T shuffle_xor(T value, int mask) { return shuffle(value, lane() ^ mask); }
  float shuffle_quad(float value, int source) { return shuffle(value, lane() / 4 * 4 + source); }

  void load_matrices(std::uint32_t (&result)[4], const std::uint16_t* row) {
    load(result, row, false);
  }
  void load_matrices_transposed(std::uint32_t (&result)[4], const std::uint16_t* row) {
    load(result, row, true);
  }

  // mma.m16n8k16: A (16x16, row-major) and B (16x8, column-major) of Element, C and D float32.
  // Registers 0 to 3 hold A, 4 and 5 hold B, two numbers each.
  template <typename Element>
  void mma(float (&sums)[4], const std::uint32_t (&left)[4], std::uint32_t right0,
           std::uint32_t right1) {
    auto& own_numbers = next_posted().numbers[static_cast<std::size_t>(lane())];
    const std::array<std::uint32_t, 6> registers = {left[0], left[1], left[2],
                                                    left[3], right0,  right1};
    for (std::size_t i = 0; i < own_numbers.size(); ++i)
      own_numbers[i] = to_double(
          Element{static_cast<std::uint16_t>(registers[i / 2] >> (i % 2 == 0 ? 0U : 16U))});
    const Posted& all = post(Operation::mma, nullptr, 0);
    const auto at = [&](int from, int index, int half) {
      return all
          .numbers[static_cast<std::size_t>(from)][static_cast<std::size_t>(2 * index + half)];
    };
    for (int i = 0; i < 4; ++i) {
      const int row = lane() / 4 + (i < 2 ? 0 : 8);
      const int column = lane() % 4 * 2 + i % 2;
      double sum = double{sums[i]};
      for (int k = 0; k < 16; ++k)
        sum += at(row % 8 * 4 + k % 8 / 2, (row >= 8 ? 1 : 0) + (k >= 8 ? 2 : 0), k % 2) *
               at(column * 4 + k % 8 / 2, k >= 8 ? 5 : 4, k % 2);
      sums[i] = static_cast<float>(sum);
    }
  }

  template <typename Element> std::uint32_t pack(float low, float high) {
    return std::uint32_t{from_double<Element>(double{low}).bits} |
           std::uint32_t{from_double<Element>(double{high}).bits} << 16U;
  }

  void copy16(void* to, const void* from) {
    std::memset(to, 0xFF, sizeof(Vector16));  // NaN until it is waited for
    copies_.emplace_back(to, from);
  }
  void wait_copies() {
    for (const auto& [to, from] : copies_)
      std::memcpy(to, from, sizeof(Vector16));
    copies_.clear();
  }

  float exp2(float value) const { return std::exp2(value); }
  float infinity() const { return std::numeric_limits<float>::infinity(); }
  float round(float value) const { return std::nearbyint(value); }
  int lowest_bit(std::uint32_t bits) const { return std::countr_zero(bits); }

  template <typename T> T atomic_add(T* to, T value) {  // other threads run only at meetings
    return std::exchange(*to, *to + value);
  }
  void fence() const {}

  // The kernel has ended: whatever is still in flight was never waited for.
  bool done() const { return copies_.empty(); }

private:
  Warp& own() const { return block_.members[static_cast<std::size_t>(warp())]; }

  Posted& next_posted() const {
    return own().posted[static_cast<std::size_t>(own().meeting.phase() % 2)];
  }

  const Posted& post(Operation operation, const void* address, std::uint32_t word) {
    Posted& all = next_posted();
    all.addresses[static_cast<std::size_t>(lane())] = address;
    all.words[static_cast<std::size_t>(lane())] = word;
    own().meeting.meet(operation, yield_);
    return all;
  }

  template <typename T> T shuffle(T value, int source) {
    const Posted& all = post(Operation::shuffle, nullptr, std::bit_cast<std::uint32_t>(value));
    return std::bit_cast<T>(all.words[static_cast<std::size_t>(source)]);
  }

  // ldmatrix.x4: lane 8 i + r brings the address of row r of matrix i; register i holds two
  // neighbours of row lane / 4, or, transposed, of column lane / 4.
  void load(std::uint32_t (&result)[4], const std::uint16_t* row, bool transposed) {
    const Posted& all = post(transposed ? Operation::load_transposed : Operation::load, row, 0);
    for (int matrix = 0; matrix < 4; ++matrix) {
      const auto element = [&](int r, int column) {
        const auto* start = static_cast<const std::uint16_t*>(
            all.addresses[static_cast<std::size_t>(8 * matrix + r)]);
        return std::uint32_t{start[column]};
      };
      const int major = lane() / 4;
      const int minor = lane() % 4 * 2;
      const auto at = [&](int i) {
        return transposed ? element(minor + i, major) : element(major, minor + i);
      };
      result[matrix] = at(0) | at(1) << 16U;
    }
  }

  Block& block_;
  int index_;
  std::function<void()> yield_;
  std::vector<std::pair<void*, const void*>> copies_;
};

struct Launch {
  Index3 grid;
  int warps;
  int shared_bytes;
  unsigned seed = 0;  // of the order in which threads run
};

// Runs `kernel` for every thread of the grid.
void emulate(const Launch& launch, const std::function<void(EmulatedThread&)>& kernel);

}  // namespace fgdm::kernels::test
