#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <limits>
#include <random>
#include <set>
#include <tuple>

#include <gtest/gtest.h>

#include "fgdm/error.hpp"
#include "fgdm/palette.hpp"
#include "palette_fixture.hpp"

namespace fgdm {
namespace {

using testing_support::Color;
using testing_support::make_palette;
using Bytes = std::vector<std::uint8_t>;

// PASCAL VOC's colours, as COCO-Stuff's 183 classes use them: bit 3j + c of the index is bit 7 - j
// of channel c.
std::vector<Color> pascal_colors(std::size_t count) {
  std::vector<Color> result(count, Color{});
  for (std::size_t index = 0; index < count; ++index)
    for (std::size_t bit = 0; bit < 8; ++bit)
      result[index][bit % 3] = static_cast<std::uint8_t>(result[index][bit % 3] |
                                                         (((index >> bit) & 1U) << (7 - bit / 3)));
  return result;
}

std::vector<Color> random_colors(std::size_t count, unsigned levels, std::mt19937& random) {
  std::set<Color> chosen;
  while (chosen.size() < count) {
    Color color;
    for (auto& channel : color)
      channel = static_cast<std::uint8_t>(random() % levels * 255 / (levels - 1));
    chosen.insert(color);
  }
  std::vector<Color> result(chosen.begin(), chosen.end());
  std::shuffle(result.begin(), result.end(), random);
  return result;
}

// Half random colours and half near a colour of the palette, where the decisions are close.
Bytes random_pixels(std::size_t count, const std::vector<Color>& colors, std::mt19937& random) {
  Bytes result;
  for (std::size_t i = 0; i < count; ++i) {
    const Color& color = colors[random() % colors.size()];
    for (const std::uint8_t channel : color) {
      const int near = std::clamp(channel + static_cast<int>(random() % 65) - 32, 0, 255);
      const int any = static_cast<int>(random() % 256);
      result.push_back(static_cast<std::uint8_t>(i % 2 == 0 ? any : near));
    }
  }
  return result;
}

struct Distance {
  int max;
  int sum;
};

Distance distance(const std::uint8_t* pixel, const Color& color) {
  Distance result{0, 0};
  for (std::size_t channel = 0; channel < 3; ++channel) {
    const int difference = std::abs(int{pixel[channel]} - int{color[channel]});
    result.max = std::max(result.max, difference);
    result.sum += difference;
  }
  return result;
}

std::uint8_t nearest(const std::uint8_t* pixel, const std::vector<Color>& colors, int tolerance) {
  auto best = std::make_tuple(tolerance + 1, 0, std::size_t{unlabeled});
  for (std::size_t i = 0; i < colors.size(); ++i)
    if (const Distance d = distance(pixel, colors[i]); d.max <= tolerance)
      best = std::min(best, std::make_tuple(d.max, d.sum, i));
  return static_cast<std::uint8_t>(std::get<2>(best));
}

std::uint8_t last_within(const std::uint8_t* pixel, const std::vector<Color>& colors,
                         int tolerance) {
  std::uint8_t result = unlabeled;
  for (std::size_t i = 0; i < colors.size(); ++i)
    if (distance(pixel, colors[i]).max <= tolerance)
      result = static_cast<std::uint8_t>(i);
  return result;
}

// Protects decoding from its lookup structures: they must agree with a search over all colours, for
// sparse, dense and regular palettes (full of ties) and every tolerance.
TEST(DecodeTest, AgreesWithBruteForce) {
  std::mt19937 random(4);
  const std::vector<std::vector<Color>> palettes = {
      pascal_colors(183),           pascal_colors(255),           random_colors(1, 256, random),
      random_colors(20, 3, random), random_colors(64, 4, random), random_colors(255, 256, random)};
  for (const auto& colors : palettes) {
    const Palette palette = make_palette(colors);
    const Bytes rgb = random_pixels(4'000, colors, random);
    Bytes labels(rgb.size() / 3);
    Bytes box_labels(rgb.size() / 3);
    for (const int tolerance : {0, 1, 16, 28, 127, 255}) {
      decode_labels(palette, rgb, labels, tolerance);
      decode_labels_box(palette, rgb, box_labels, tolerance);
      for (std::size_t i = 0; i < labels.size(); ++i) {
        ASSERT_EQ(int{labels[i]}, int{nearest(&rgb[3 * i], colors, tolerance)})
            << colors.size() << " colours, tolerance " << tolerance;
        ASSERT_EQ(int{box_labels[i]}, int{last_within(&rgb[3 * i], colors, tolerance)})
            << colors.size() << " colours, tolerance " << tolerance;
      }
    }
  }
}

// Protects the documented order of ties, which decides between neighbouring classes.
TEST(DecodeTest, BreaksTiesByTheSumAndThenTheIndex) {
  const Palette palette = make_palette({{0, 0, 20}, {20, 20, 0}, {0, 20, 0}, {20, 0, 0}});
  const Bytes rgb = {10, 10, 0, 10, 10, 10, 0, 0, 0};
  Bytes labels(3);
  decode_labels(palette, rgb, labels);
  EXPECT_EQ(labels[0], 1) << "(20,20,0), (0,20,0) and (20,0,0) are equal in both: the lowest index";
  EXPECT_EQ(labels[1], 0) << "all are equal in both";
  EXPECT_EQ(labels[2], 0) << "all are 20 away in one channel, (20,20,0) in two";
}

// Protects the default tolerance of the design: 28 levels are a class, 29 are not.
TEST(DecodeTest, IsUnlabeledBeyondTheTolerance) {
  const Palette palette = make_palette({{100, 100, 100}});
  const Bytes rgb = {128, 72, 100, 129, 100, 100};
  Bytes labels(2);
  decode_labels(palette, rgb, labels);
  EXPECT_EQ(labels, (Bytes{0, unlabeled}));
  decode_labels_box(palette, rgb, labels);
  EXPECT_EQ(labels, (Bytes{0, unlabeled}));
}

// Protects the time that choosing among ten candidates takes, for maps as an autoencoder gives
// them: areas of one class with a few levels of noise.
TEST(DecodeTest, DecodesTenMapsInTime) {
  std::mt19937 random(6);
  const auto colors = pascal_colors(183);
  const Palette palette = make_palette(colors);
  Bytes rgb;
  for (std::size_t i = 0; i < 10 * 256 * 256; ++i)
    for (const std::uint8_t channel : colors[(i % 256 / 40 * 7 + i / 256 / 32 * 13) % 183]) {
      const int noisy = channel + static_cast<int>(random() % 17) - 8;
      rgb.push_back(static_cast<std::uint8_t>(std::clamp(noisy, 0, 255)));
    }
  Bytes labels(rgb.size() / 3);
  const auto measure = [&](auto decode) {
    const std::clock_t start = std::clock();  // processor time: a busy machine changes it less
    decode(palette, rgb, labels, default_tolerance);
    return 1e3 * static_cast<double>(std::clock() - start) / double{CLOCKS_PER_SEC};
  };
  const double nearest_time = std::min(measure(decode_labels), measure(decode_labels));
  const double box_time = std::min(measure(decode_labels_box), measure(decode_labels_box));
  std::cout << "ten 256 x 256 maps, 183 colours: nearest " << nearest_time << " ms, box "
            << box_time << " ms\n";
#if defined(NDEBUG) && !defined(__SANITIZE_ADDRESS__)
  EXPECT_LT(nearest_time, 60.0);
  EXPECT_LT(box_time, 60.0);
#endif
}

// Protects the hand-over to the next factor: a rendered map decodes to itself.
TEST(RenderTest, RendersWhatDecodeReads) {
  const Palette palette = make_palette({{0, 0, 0}, {255, 0, 0}, {0, 0, 255}});
  const Bytes labels = {2, 0, 1};
  Bytes rgb(9);
  render_labels(palette, labels, rgb);
  EXPECT_EQ(rgb, (Bytes{0, 0, 255, 0, 0, 0, 255, 0, 0}));
  Bytes decoded(3);
  decode_labels(palette, rgb, decoded, 0);
  EXPECT_EQ(decoded, labels);
}

TEST(RenderTest, UnlabeledIsBlackAndUnknownIsRefused) {
  const Palette palette = make_palette({{9, 9, 9}});
  Bytes rgb(3, 77);
  render_labels(palette, Bytes{unlabeled}, rgb);
  EXPECT_EQ(rgb, (Bytes{0, 0, 0}));
  EXPECT_THROW(render_labels(palette, Bytes{1}, rgb), RequestError);
}

// Protects the pictures' exact bytes: planes become pixels, ends clamp, halves round to even.
TEST(ImageTest, ConvertsAsDiffusersDoes) {
  const std::vector<float> chw = {-1.0F, 1.0F, -7.0F,
                                  7.0F,  0.0F, std::numeric_limits<float>::quiet_NaN()};
  Bytes rgb(6);
  image_to_rgb(chw, 1, 2, rgb);
  // Pixel 0 takes elements 0, 2, 4 and pixel 1 elements 1, 3, 5; 0 gives 127.5, which rounds to
  // 128.
  EXPECT_EQ(rgb, (Bytes{0, 0, 128, 255, 255, 0}));
  for (int level = 0; level <= 255; ++level) {
    const std::vector<float> value(3, static_cast<float>(level) / 255.0F * 2.0F - 1.0F);
    Bytes pixel(3);
    image_to_rgb(value, 1, 1, pixel);
    EXPECT_EQ(int{pixel[0]}, level);
  }
}

// Protects shapes: enlarging by whole numbers repeats each label, and shrinking back restores them.
TEST(ResizeTest, TakesTheLabelAtEachPixelsCentre) {
  const Bytes labels = {1, 2, 3, 4, 5, 6};
  Bytes large(6 * 12);
  resize_nearest(labels, 2, 3, large, 6, 12);
  for (std::size_t y = 0; y < 6; ++y)
    for (std::size_t x = 0; x < 12; ++x)
      EXPECT_EQ(large[12 * y + x], labels[3 * (y / 3) + x / 4]);
  Bytes small(6);
  resize_nearest(large, 6, 12, small, 2, 3);
  EXPECT_EQ(small, labels);
  Bytes middle(1);
  resize_nearest(Bytes{1, 2, 3, 4, 5}, 1, 5, middle, 1, 1);
  EXPECT_EQ(middle, (Bytes{3}));
}

TEST(LabelMapTest, RefusesWrongSizes) {
  const Palette palette = make_palette({{1, 2, 3}});
  Bytes labels(2);
  Bytes rgb(5);
  EXPECT_THROW(decode_labels(palette, rgb, labels), RequestError);
  EXPECT_THROW(decode_labels_box(palette, rgb, labels), RequestError);
  EXPECT_THROW(render_labels(palette, labels, rgb), RequestError);
  EXPECT_THROW(decode_labels(palette, Bytes(6), labels, -1), RequestError);
  EXPECT_THROW(decode_labels(palette, Bytes(6), labels, 256), RequestError);
  EXPECT_THROW(resize_nearest(labels, 2, 2, rgb, 1, 5), RequestError);
  EXPECT_THROW(resize_nearest(labels, 1, 2, rgb, 0, 5), RequestError);
  EXPECT_THROW(image_to_rgb(std::vector<float>(5), 1, 2, rgb), RequestError);
  EXPECT_THROW(image_to_rgb(std::vector<float>(6), 1, 2, rgb), RequestError);
}

}  // namespace
}  // namespace fgdm
