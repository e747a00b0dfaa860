#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fgdm/tensor.hpp"

namespace fgdm {

// How many rows of a call go at once where memory is short: as many as have no larger attention
// scores, which grow with the square of the cells, than one row of 64 x 64 cells, and one at least.
std::int64_t rows_at_once(std::span<const NamedTensor> inputs);

// Those rows of every tensor, in the same memory; all of the matrices of LoRAs, which every row
// has. Tensors on a GPU can't be cut.
std::vector<NamedTensor> rows_of(std::span<const NamedTensor> tensors, std::int64_t first,
                                 std::int64_t count);

}  // namespace fgdm
