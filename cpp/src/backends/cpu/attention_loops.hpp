#pragma once

// The op's loops over vectors of FGDM_LANES floats, of which a row of FGDM_COLUMNS stays in
// registers beside three more rows. Each source for one kind of processor defines the two and
// compiles this with its own flags: everything is in an anonymous namespace, and nothing of the
// standard library's templates is used (attention_kernel.hpp says why).
//
// A tile of patches is taken through all steps while it is in the cache: scores, softmax, the
// strongest token, the product with the values. No array holds the scores of all patches.

#include "attention_kernel.hpp"

namespace fgdm::cpu {
namespace {

using Index = std::ptrdiff_t;

constexpr int lanes = FGDM_LANES;
constexpr int most_columns = FGDM_COLUMNS;
constexpr int most_rows = 4;
constexpr int tile = 32;  // patches

typedef float Floats __attribute__((vector_size(lanes * sizeof(float))));
typedef unsigned Words __attribute__((vector_size(lanes * sizeof(unsigned))));

// What is folded by halves, down to four lanes.
template <int count> struct Part {
  typedef float Type __attribute__((vector_size(count * sizeof(float))));
};

constexpr int smaller(int a, int b) {
  return a < b ? a : b;
}

constexpr Index rounded_up(Index size, Index step) {
  return (size + step - 1) / step * step;
}

Floats load(const float* from) {
  Floats value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

void store(float* to, const Floats& value) {
  __builtin_memcpy(to, &value, sizeof value);
}

void store_first(float* to, const Floats& value, Index count) {
  if (count >= lanes)
    return store(to, value);
  for (Index i = 0; i < count; ++i)
    to[i] = value[i];
}

Floats all(float value) {
  return value - Floats{};
}

template <int count, typename Combine>
float folded(const typename Part<count>::Type& value, Combine combine) {
  if constexpr (count == 4) {
    return combine(combine(value[0], value[2]), combine(value[1], value[3]));
  } else {
    typename Part<count / 2>::Type halves[2];
    __builtin_memcpy(&halves, &value, sizeof halves);
    return folded<count / 2>(combine(halves[0], halves[1]), combine);
  }
}

float sum_of(const Floats& value) {
  return folded<lanes>(value, [](const auto& a, const auto& b) { return a + b; });
}

float largest_of(const Floats& value) {
  return folded<lanes>(value, [](const auto& a, const auto& b) { return a > b ? a : b; });
}

// 2 to the power of y, for y up to 0; 0 below -126, NaN for NaN. Off by a unit in the last place.
Floats power_of_two(const Floats& y) {
  constexpr float rounding = 12582912.0F;  // 1.5 * 2^23: the sum's last bits are a whole number
  const Floats bounded = y < all(-126.0F) ? all(-126.0F) : y;
  const Floats shifted = bounded + rounding;
  const Floats rest = bounded - (shifted - rounding);
  // Taylor's series: (ln 2)^n / n!; the rest is a half at most.
  Floats power = all(1.52527338e-5F);
  power = power * rest + 1.54035304e-4F;
  power = power * rest + 1.33335581e-3F;
  power = power * rest + 9.61812911e-3F;
  power = power * rest + 5.55041087e-2F;
  power = power * rest + 2.40226507e-1F;
  power = power * rest + 6.93147181e-1F;
  power = power * rest + 1.0F;
  const Words whole = (__builtin_bit_cast(Words, shifted) << 23) + 0x3F800000U;
  power *= __builtin_bit_cast(Floats, whole);
  return y < all(-126.0F) ? Floats{} : power;
}

// out(r, c) = factors[r] * the sum over n of a(r, n) * b(n, c).
struct Product {
  const float* a;  // a(r, n) is a[r * a_row + n]
  Index a_row;
  const float* b;  // a vector of b is at b + n * b_step + (its number in the row) * b_vector
  Index b_step, b_vector;
  Index depth;
  float* out;
  Index out_row, columns;
  const float* factors;  // NULL: 1
};

template <int rows, int vectors> void multiply_block(const Product& product, int row, int vector) {
  Floats sums[rows][vectors] = {};
  const float* a = product.a + row * product.a_row;
  const float* b = product.b + vector * product.b_vector;
  const Index a_row = product.a_row, b_step = product.b_step, b_vector = product.b_vector;
  const float* const end = a + product.depth;
  for (; a != end; ++a, b += b_step) {
    Floats of_b[vectors];
    for (int j = 0; j < vectors; ++j)
      of_b[j] = load(b + j * b_vector);
    for (int i = 0; i < rows; ++i)
      for (int j = 0; j < vectors; ++j)
        sums[i][j] += a[i * a_row] * of_b[j];
  }
  const Index columns = product.columns - Index{vector} * lanes;  // from here on
  for (int i = 0; i < rows; ++i) {
    const float factor = product.factors == nullptr ? 1.0F : product.factors[row + i];
    float* out = product.out + (row + i) * product.out_row + Index{vector} * lanes;
    if (columns >= vectors * lanes)
      for (int j = 0; j < vectors; ++j)
        store(out + j * lanes, factor * sums[i][j]);
    else
      for (int j = 0; j < vectors; ++j)
        store_first(out + j * lanes, factor * sums[i][j], columns - j * lanes);
  }
}

template <int rows, int most>
void multiply_vectors(const Product& product, int row, int vector, int vectors) {
  if (vectors == most)
    multiply_block<rows, most>(product, row, vector);
  else if constexpr (most > 1)
    multiply_vectors<rows, most - 1>(product, row, vector, vectors);
}

template <int most>
void multiply_rows(const Product& product, int row, int rows, int vector, int vectors) {
  if (rows == most)
    multiply_vectors<most, most_columns>(product, row, vector, vectors);
  else if constexpr (most > 1)
    multiply_rows<most - 1>(product, row, rows, vector, vectors);
}

// Vectors of b stay in the first cache while all rows pass.
void multiply(const Product& product, int rows) {
  const auto vectors = static_cast<int>(rounded_up(product.columns, lanes) / lanes);
  int groups = (vectors + most_columns - 1) / most_columns;
  for (int vector = 0; groups > 0; --groups) {
    const int count = (vectors - vector + groups - 1) / groups;
    for (int row = 0; row < rows; row += most_rows)
      multiply_rows<most_rows>(product, row, smaller(most_rows, rows - row), vector, count);
    vector += count;
  }
}

// Sizes in floats; rows of tokens and values end on whole vectors.
struct Sizes {
  explicit Sizes(const fgdm_attention_shape& shape)
      : tokens(rounded_up(shape.tokens, lanes)), keys(tokens * shape.head_size),
        channels(rounded_up(shape.head_size, lanes)),
        values(channels == shape.head_size ? 0 : channels * shape.tokens), weights(tile * tokens) {}

  Index tokens, keys, channels, values, weights;
};

// Of the heads that are taken together.
struct Scratch {
  float *keys, *values, *weights, *inverse_sums, *means, *allowed;
};

std::size_t scratch_of(const fgdm_attention_shape& shape) {
  const Sizes sizes(shape);
  const Index heads = shape.argmax == FGDM_ARGMAX_MEAN ? shape.heads : 1;
  return static_cast<std::size_t>(heads * (sizes.keys + sizes.values + sizes.weights + tile) +
                                  2 * sizes.tokens);
}

Scratch cut(float* memory, const Sizes& sizes, Index heads) {
  Scratch scratch{};
  scratch.keys = memory;
  scratch.values = scratch.keys + heads * sizes.keys;
  scratch.weights = scratch.values + heads * sizes.values;
  scratch.inverse_sums = scratch.weights + heads * sizes.weights;
  scratch.means = scratch.inverse_sums + heads * tile;
  scratch.allowed = scratch.means + sizes.tokens;
  return scratch;
}

// (tokens, head_size) to vectors of tokens, one for each channel after the other; 0 behind the
// last.
void pack_keys(const fgdm_attention_shape& shape, const float* from, float* to) {
  const Index size = shape.head_size;
  for (Index token = 0; token < shape.tokens; token += lanes) {
    const auto count = smaller(lanes, static_cast<int>(shape.tokens - token));
    for (Index channel = 0; channel < size; ++channel, to += lanes) {
      const float* column = from + token * size + channel;
      if (count == lanes) {
        for (int i = 0; i < lanes; ++i)
          to[i] = column[i * size];
      } else {
        for (int i = 0; i < lanes; ++i)
          to[i] = i < count ? column[i * size] : 0.0F;
      }
    }
  }
}

void pad_values(const fgdm_attention_shape& shape, Index channels, const float* from, float* to) {
  for (int token = 0; token < shape.tokens; ++token)
    for (Index channel = 0; channel < channels; ++channel)
      *to++ = channel < shape.head_size ? from[token * Index{shape.head_size} + channel] : 0.0F;
}

// A patch's scores to exp((score - largest) / sqrt(head_size)), 0 behind the last token. Returns
// what their sum is the inverse of. `exponent` is log2(e) / sqrt(head_size): the difference is
// taken first, since it is exact near the largest score however large that is.
float weigh(float* scores, Index tokens, Index padded, float exponent) {
  for (Index token = tokens; token < padded; ++token)
    scores[token] = -__builtin_inff();
  Floats top = load(scores);
  for (Index token = lanes; token < padded; token += lanes) {
    const Floats score = load(scores + token);
    top = score > top ? score : top;
  }
  const Floats largest = all(largest_of(top));
  Floats sum = {};
  for (Index token = 0; token < padded; token += lanes) {
    const Floats weight = power_of_two((load(scores + token) - largest) * exponent);
    store(scores + token, weight);
    sum += weight;
  }
  return 1.0F / sum_of(sum);
}

// The allowed token with the greatest mean weight over heads, the first of equals. `weights` are of
// one patch, `heads` of them `step` apart.
Index strongest(const Scratch& scratch, const Sizes& sizes, const float* weights,
                const float* inverse_sums, Index heads, Index first_allowed) {
  Floats top = {};
  for (Index token = 0; token < sizes.tokens; token += lanes) {
    Floats mean = {};
    for (Index head = 0; head < heads; ++head)
      mean += inverse_sums[head * tile] * load(weights + head * sizes.weights + token);
    mean = load(scratch.allowed + token) > Floats{} ? mean : all(-1.0F);
    store(scratch.means + token, mean);
    top = mean > top ? mean : top;
  }
  const float greatest = largest_of(top);
  for (Index token = first_allowed; token < sizes.tokens; ++token)
    if (scratch.means[token] == greatest)
      return token;
  return first_allowed;  // where weights are NaN
}

void attend(const fgdm_attention_shape& shape, const AttentionArrays& arrays,
            const AttentionPart& part, float* memory) {
  const Sizes sizes(shape);
  const Index size = shape.head_size, tokens = shape.tokens;
  const float scale = arrays.attn_scale[part.row];
  const unsigned char* mask = arrays.argmax_mask + part.row * tokens;
  Index first_allowed = 0;
  while (first_allowed < tokens && mask[first_allowed] == 0)
    ++first_allowed;
  const bool scaled = scale != 1.0F && first_allowed < tokens;
  // A mean over heads needs all of them; else the keys and values of one at a time are in the
  // cache.
  const int group = scaled && shape.argmax == FGDM_ARGMAX_MEAN ? shape.heads : 1;
  const Scratch scratch = cut(memory, sizes, group);
  for (Index token = 0; token < sizes.tokens; ++token)
    scratch.allowed[token] = token < tokens && mask[token] != 0 ? 1.0F : 0.0F;
  const auto exponent =
      static_cast<float>(1.4426950408889634 / __builtin_sqrt(static_cast<double>(size)));

  for (int first_head = 0; first_head < shape.heads; first_head += group) {
    const Index first_plane = Index{part.row} * shape.heads + first_head;
    for (Index g = 0; g < group; ++g) {
      const Index place = (first_plane + g) * tokens * size;
      pack_keys(shape, arrays.k + place, scratch.keys + g * sizes.keys);
      if (sizes.values != 0)
        pad_values(shape, sizes.channels, arrays.v + place, scratch.values + g * sizes.values);
    }
    for (int done = 0; done < part.count; done += tile) {
      const int patches = smaller(tile, part.count - done);
      const auto place = [&](Index g) {
        return ((first_plane + g) * shape.patches + part.first + done) * size;
      };
      for (Index g = 0; g < group; ++g) {
        float* weights = scratch.weights + g * sizes.weights;
        multiply({arrays.q + place(g), size, scratch.keys + g * sizes.keys, lanes, size * lanes,
                  size, weights, sizes.tokens, sizes.tokens, nullptr},
                 patches);
        for (Index p = 0; p < patches; ++p)
          scratch.inverse_sums[g * tile + p] =
              weigh(weights + p * sizes.tokens, tokens, sizes.tokens, exponent);
      }
      for (Index p = 0; scaled && p < patches; ++p) {
        float* weights = scratch.weights + p * sizes.tokens;
        const Index token =
            strongest(scratch, sizes, weights, scratch.inverse_sums + p, group, first_allowed);
        for (Index g = 0; g < group; ++g)
          weights[g * sizes.weights + token] *= scale;
      }
      for (Index g = 0; g < group; ++g) {
        const bool padded = sizes.values != 0;
        const float* values = padded ? scratch.values + g * sizes.values
                                     : arrays.v + (first_plane + g) * tokens * size;
        multiply({scratch.weights + g * sizes.weights, sizes.tokens, values,
                  padded ? sizes.channels : size, lanes, tokens, arrays.out + place(g), size, size,
                  scratch.inverse_sums + g * tile},
                 patches);
      }
    }
  }
}

}  // namespace
}  // namespace fgdm::cpu
