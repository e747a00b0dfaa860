#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "fgdm/palette.hpp"

namespace fgdm::testing_support {

using Color = std::array<std::uint8_t, 3>;

inline nlohmann::json class_json(std::size_t index, const std::string& name, Color color) {
  return {{"index", index}, {"name", name}, {"color", color}, {"kind", "thing"}};
}

// A palette of classes "class 0", "class 1", ...
inline Palette make_palette(const std::vector<Color>& colors) {
  nlohmann::json json = {{"name", "test"}, {"classes", nlohmann::json::array()}};
  for (std::size_t i = 0; i < colors.size(); ++i)
    json["classes"].push_back(class_json(i, "class " + std::to_string(i), colors[i]));
  return Palette::parse(json.dump());
}

}  // namespace fgdm::testing_support
