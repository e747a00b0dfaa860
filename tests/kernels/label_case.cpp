#include "label_case.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <random>
#include <set>

#include "fgdm/palette.hpp"
#include "fgdm/recall.hpp"
#include "reference.hpp"

namespace fgdm::kernels::test {

namespace {

std::size_t pixels_of(const LabelCase& given) {
  return static_cast<std::size_t>(given.shape.height) * static_cast<std::size_t>(given.shape.width);
}

Palette core_palette(const LabelCase& given) {
  std::string json = R"({"name": "test", "classes": [)";
  for (int c = 0; c < given.shape.classes; ++c) {
    const auto* color = &given.palette[3 * static_cast<std::size_t>(c)];
    json += (c > 0 ? "," : "") + std::string(R"({"index": )") + std::to_string(c) +
            R"(, "name": "c)" + std::to_string(c) + R"(", "kind": "thing", "color": [)" +
            std::to_string(color[0]) + "," + std::to_string(color[1]) + "," +
            std::to_string(color[2]) + R"(], "synonyms": [], "forms": []})";
  }
  return Palette::parse(json + "]}");
}

}  // namespace

LabelCase label_case(int classes, fgdm_decode_rule rule, int maps, int height, int width,
                     unsigned seed) {
  LabelCase result{{maps, height, width, classes, 28, 0.01, FGDM_FLOAT32, rule}, {}, {}, {}};
  std::mt19937 random(seed);
  const auto draw = [&](int least, int most) {
    return std::uniform_int_distribution<int>(least, most)(random);
  };
  std::set<std::array<int, 3>> colors;
  while (colors.size() < static_cast<std::size_t>(classes)) {
    const std::array<int, 3> color = {draw(0, 255), draw(0, 255), draw(0, 255)};
    if (!colors.insert(color).second)
      continue;
    for (const int level : color)
      result.palette.push_back(static_cast<unsigned char>(level));
  }
  const std::size_t pixels = pixels_of(result);
  result.images.resize(static_cast<std::size_t>(maps) * 3 * pixels);
  for (std::size_t m = 0; m < static_cast<std::size_t>(maps); ++m) {
    int flat = 0;
    for (std::size_t i = 0; i < pixels; ++i) {
      if (draw(0, 9) == 0)
        flat = draw(0, classes - 1);
      for (std::size_t channel = 0; channel < 3; ++channel) {
        const int level = result.palette[3 * static_cast<std::size_t>(flat) + channel];
        const int off = draw(0, 3) == 0 ? draw(-30, 30) : draw(-4, 4);
        // Quarters of a level: halves are ties of the rounding.
        const float exact =
            static_cast<float>(level + off) + 0.25F * static_cast<float>(draw(0, 3));
        result.images[(3 * m + channel) * pixels + i] = exact / 127.5F - 1.0F;
      }
      if (draw(0, 99) == 0)
        result.images[3 * m * pixels + i] = std::numeric_limits<float>::quiet_NaN();
    }
    for (int c = 0; c < classes; ++c)  // the last map asks for nothing
      result.requested.push_back(
          static_cast<unsigned char>(m + 1 < static_cast<std::size_t>(maps) ? draw(0, 1) : 0));
  }
  return result;
}

LabelResult empty_result(const LabelCase& given) {
  const auto maps = static_cast<std::size_t>(given.shape.maps);
  return {std::vector<unsigned char>(maps * pixels_of(given)),
          std::vector<int>(maps * static_cast<std::size_t>(given.shape.classes)),
          std::vector<fgdm_map_recall>(maps)};
}

LabelResult reference_result(const LabelCase& given) {
  LabelResult result = empty_result(given);
  reference::decode_labels(given.shape, given.images, given.palette, given.requested, result.labels,
                           result.areas, result.recall);
  return result;
}

LabelResult core_result(const LabelCase& given) {
  LabelResult result = empty_result(given);
  const Palette palette = core_palette(given);
  const std::size_t pixels = pixels_of(given);
  const auto classes = static_cast<std::size_t>(given.shape.classes);
  for (std::size_t m = 0; m < result.recall.size(); ++m) {
    const std::span<std::uint8_t> labels = std::span(result.labels).subspan(m * pixels, pixels);
    std::vector<std::uint8_t> rgb(3 * pixels);
    image_to_rgb(std::span(given.images).subspan(3 * m * pixels, 3 * pixels), given.shape.height,
                 given.shape.width, rgb);
    if (given.shape.rule == FGDM_DECODE_BOX)
      decode_labels_box(palette, rgb, labels, given.shape.tolerance);
    else
      fgdm::decode_labels(palette, rgb, labels, given.shape.tolerance);
    std::vector<int> requested;
    for (std::size_t c = 0; c < classes; ++c) {
      result.areas[m * classes + c] = static_cast<int>(std::ranges::count(labels, c));
      if (given.requested[m * classes + c] != 0)
        requested.push_back(static_cast<int>(c));
    }
    const MapRecall measured = measure(labels, requested, given.shape.min_area);
    result.recall[m] = {
        static_cast<int>(requested.size()), static_cast<int>(measured.found.size()),
        static_cast<int>(std::lround(measured.smallest_area * static_cast<double>(pixels))), 0};
  }
  return result;
}

std::string difference(const LabelResult& given, const LabelResult& expected) {
  for (std::size_t i = 0; i < expected.labels.size(); ++i)
    if (given.labels[i] != expected.labels[i])
      return "label " + std::to_string(i) + " is " + std::to_string(given.labels[i]) +
             ", expected " + std::to_string(expected.labels[i]);
  if (given.areas != expected.areas)
    return "the areas differ";
  for (std::size_t m = 0; m < expected.recall.size(); ++m) {
    const fgdm_map_recall& a = given.recall[m];
    const fgdm_map_recall& b = expected.recall[m];
    if (a.requested != b.requested || a.found != b.found || a.smallest_area != b.smallest_area)
      return "the recall of map " + std::to_string(m) + " is " + std::to_string(a.found) + " of " +
             std::to_string(a.requested) + ", expected " + std::to_string(b.found) + " of " +
             std::to_string(b.requested);
  }
  return "";
}

}  // namespace fgdm::kernels::test
