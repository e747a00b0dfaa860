#include "fgdm/palette.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "fgdm/error.hpp"
#include "files.hpp"
#include "label_decoder.hpp"

namespace fgdm {

namespace {

constexpr std::size_t max_classes = 255;

[[noreturn]] void fail(const std::string& where, const std::string& what) {
  throw BundleError("palette: " + where + what + "; correct the bundle's palette file");
}

// A value for a message: in full, or just its type where it can be long or deeply nested.
std::string describe(const nlohmann::json& value) {
  if (value.is_structured())
    return std::string("an ") + value.type_name();
  return value.dump();
}

// A class as JSON, with the place to name in messages.
struct Entry {
  const nlohmann::json& json;
  std::string where;

  const nlohmann::json& at(const char* key) const {
    const auto found = json.find(key);
    if (found == json.end())
      fail(where, std::string("has no \"") + key + "\"");
    return *found;
  }

  std::string text(const char* key) const {
    const nlohmann::json& value = at(key);
    if (!value.is_string() || value.get_ref<const std::string&>().empty())
      fail(where, std::string("\"") + key + "\" is " + describe(value) + ", expected a string");
    return value.get<std::string>();
  }
};

nlohmann::json palette_json(std::string_view json) {
  try {
    return parse_json(json);
  } catch (const BundleError& error) {
    fail("", error.what());
  }
}

Color parse_color(const Entry& entry) {
  const nlohmann::json& value = entry.at("color");
  const auto is_byte = [](const nlohmann::json& channel) {
    return channel.is_number_integer() && channel >= 0 && channel <= 255;
  };
  if (!value.is_array() || value.size() != 3 || !std::all_of(value.begin(), value.end(), is_byte))
    fail(entry.where,
         "\"color\" is " + describe(value) + ", expected three integers from 0 to 255");
  return {value[0].get<std::uint8_t>(), value[1].get<std::uint8_t>(), value[2].get<std::uint8_t>()};
}

std::vector<std::string> parse_words(const Entry& entry, const char* key) {
  const auto words = entry.json.find(key);
  if (words == entry.json.end())
    return {};
  const auto is_string = [](const nlohmann::json& value) { return value.is_string(); };
  if (!words->is_array() || !std::all_of(words->begin(), words->end(), is_string))
    fail(entry.where,
         "\"" + std::string(key) + "\" is " + describe(*words) + ", expected a list of strings");
  return words->get<std::vector<std::string>>();
}

PaletteClass parse_class(const Entry& entry, std::size_t index) {
  if (!entry.json.is_object())
    fail(entry.where, "is not a JSON object");
  if (entry.at("index") != index)
    fail(entry.where, "\"index\" is " + describe(entry.at("index")) + ", expected its position, " +
                          std::to_string(index));
  const std::string kind = entry.text("kind");
  if (kind != "thing" && kind != "background")
    fail(entry.where, "\"kind\" is \"" + kind + "\", expected \"thing\" or \"background\"");
  return {entry.text("name"), parse_color(entry), kind == "thing", parse_words(entry, "synonyms"),
          parse_words(entry, "forms")};
}

std::vector<int> parse_classes(const Entry& entry, const char* key, const Palette& palette) {
  std::vector<int> indices;
  for (const auto& name : parse_words(entry, key)) {
    const auto index = palette.find(name);
    if (!index)
      fail(entry.where,
           "\"" + std::string(key) + "\" names \"" + name + "\", which is no class of the palette");
    indices.push_back(*index);
  }
  return indices;
}

PaletteAttribute parse_attribute(const Entry& entry, const Palette& palette) {
  if (!entry.json.is_object())
    fail(entry.where, "is not a JSON object");
  const auto& shown = entry.at("shown");
  if (!shown.is_boolean())
    fail(entry.where, "\"shown\" is " + describe(shown) + ", expected true or false");
  return {entry.text("name"), parse_words(entry, "words"), parse_classes(entry, "present", palette),
          parse_classes(entry, "absent", palette), shown.get<bool>()};
}

void check_sizes(std::span<const std::uint8_t> rgb, std::span<const std::uint8_t> labels) {
  if (rgb.size() != 3 * labels.size())
    throw RequestError("label map: rgb has " + std::to_string(rgb.size()) + " bytes, expected " +
                       std::to_string(3 * labels.size()) + " for " + std::to_string(labels.size()) +
                       " labels");
}

LabelDecoder make_decoder(const Palette& palette, std::optional<int> given) {
  const int tolerance = given.value_or(palette.tolerance());
  if (tolerance < 0 || tolerance > 255)
    throw RequestError("tolerance is " + std::to_string(tolerance) +
                       ", expected 0 to 255 levels per channel");
  std::vector<Color> colors;
  for (const PaletteClass& listed : palette.classes())
    colors.push_back(listed.color);
  return LabelDecoder(std::move(colors), tolerance);
}

std::size_t checked_area(int height, int width, std::size_t size, const char* what) {
  if (height < 1 || width < 1 ||
      size != static_cast<std::size_t>(height) * static_cast<std::size_t>(width))
    throw RequestError(std::string(what) + " of " + std::to_string(height) + " x " +
                       std::to_string(width) + " pixels has " + std::to_string(size) + " values");
  return size;
}

}  // namespace

Palette Palette::parse(std::string_view json) {
  const nlohmann::json root = palette_json(json);
  if (!root.is_object())
    fail("", "is not a JSON object");
  const Entry top{root, ""};
  const nlohmann::json& classes = top.at("classes");
  if (!classes.is_array() || classes.empty() || classes.size() > max_classes)
    fail("\"classes\" ", "is not a list of 1 to 255 classes");

  Palette result;
  result.name_ = top.text("name");
  if (const auto tolerance = root.find("tolerance"); tolerance != root.end()) {
    if (!tolerance->is_number_integer() || *tolerance < 0 || *tolerance > 255)
      fail("\"tolerance\" ", "is " + describe(*tolerance) + ", expected an integer from 0 to 255");
    result.tolerance_ = tolerance->get<int>();
  }
  std::map<Color, std::size_t> colors;
  std::set<std::string> names;
  for (std::size_t i = 0; i < classes.size(); ++i) {
    const Entry entry{classes[i], "class " + std::to_string(i) + " "};
    const PaletteClass& added = result.classes_.emplace_back(parse_class(entry, i));
    if (!names.insert(added.name).second)
      fail(entry.where, "repeats the name \"" + added.name + "\"");
    if (const auto [other, inserted] = colors.emplace(added.color, i); !inserted)
      fail(entry.where, "repeats the color of class " + std::to_string(other->second));
  }
  if (const auto attributes = root.find("attributes"); attributes != root.end()) {
    if (!attributes->is_array())
      fail("\"attributes\" ", "is " + describe(*attributes) + ", expected a list");
    std::set<std::string> known;
    for (const auto& one : *attributes) {
      const Entry entry{one, "attribute " + std::to_string(result.attributes_.size()) + " "};
      const auto& added = result.attributes_.emplace_back(parse_attribute(entry, result));
      if (!known.insert(added.name).second)
        fail(entry.where, "repeats the name \"" + added.name + "\"");
    }
  }
  return result;
}

std::optional<int> Palette::find(std::string_view name) const {
  for (std::size_t i = 0; i < classes_.size(); ++i)
    if (classes_[i].name == name)
      return static_cast<int>(i);
  return std::nullopt;
}

void decode_labels(const Palette& palette, std::span<const std::uint8_t> rgb,
                   std::span<std::uint8_t> labels, std::optional<int> tolerance) {
  check_sizes(rgb, labels);
  LabelDecoder decoder = make_decoder(palette, tolerance);
  for (std::size_t i = 0; i < labels.size(); ++i)
    labels[i] = decoder.nearest(&rgb[3 * i]);
}

void decode_labels_box(const Palette& palette, std::span<const std::uint8_t> rgb,
                       std::span<std::uint8_t> labels, std::optional<int> tolerance) {
  check_sizes(rgb, labels);
  const LabelDecoder decoder = make_decoder(palette, tolerance);
  for (std::size_t i = 0; i < labels.size(); ++i)
    labels[i] = decoder.last(&rgb[3 * i]);
}

void render_labels(const Palette& palette, std::span<const std::uint8_t> labels,
                   std::span<std::uint8_t> rgb) {
  check_sizes(rgb, labels);
  const std::vector<PaletteClass>& classes = palette.classes();
  for (std::size_t i = 0; i < labels.size(); ++i) {
    Color color = {0, 0, 0};
    if (labels[i] != unlabeled) {
      if (labels[i] >= classes.size())
        throw RequestError("label map: pixel " + std::to_string(i) + " has label " +
                           std::to_string(labels[i]) + ", expected 0 to " +
                           std::to_string(classes.size() - 1) + " of palette \"" + palette.name() +
                           "\" or 255 for unlabeled");
      color = classes[labels[i]].color;
    }
    std::copy(color.begin(), color.end(), rgb.begin() + static_cast<std::ptrdiff_t>(3 * i));
  }
}

void image_to_rgb(std::span<const float> chw, int height, int width, std::span<std::uint8_t> rgb) {
  const std::size_t area = checked_area(height, width, chw.size() / 3, "image");
  if (chw.size() != 3 * area || rgb.size() != 3 * area)
    throw RequestError("image: chw has " + std::to_string(chw.size()) + " values and rgb " +
                       std::to_string(rgb.size()) + " bytes, expected " + std::to_string(3 * area) +
                       " of both");
  for (std::size_t channel = 0; channel < 3; ++channel)
    for (std::size_t i = 0; i < area; ++i) {
      const float unit = chw[channel * area + i] / 2.0F + 0.5F;
      const float clamped = unit > 0.0F ? std::min(unit, 1.0F) : 0.0F;  // NaN too becomes 0
      rgb[3 * i + channel] = static_cast<std::uint8_t>(std::nearbyint(clamped * 255.0F));
    }
}

void resize_nearest(std::span<const std::uint8_t> labels, int height, int width,
                    std::span<std::uint8_t> resized, int resized_height, int resized_width) {
  checked_area(height, width, labels.size(), "label map");
  checked_area(resized_height, resized_width, resized.size(), "resized label map");
  // floor((i + 1/2) * from / to), in integers.
  const auto source = [](int i, int from, int to) {
    return static_cast<std::size_t>((2 * std::int64_t{i} + 1) * from / (2 * std::int64_t{to}));
  };
  std::vector<std::size_t> columns;
  for (int x = 0; x < resized_width; ++x)
    columns.push_back(source(x, width, resized_width));
  auto out = resized.begin();
  for (int y = 0; y < resized_height; ++y) {
    const std::size_t row = source(y, height, resized_height) * static_cast<std::size_t>(width);
    for (const std::size_t column : columns)
      *out++ = labels[row + column];
  }
}

std::vector<int> match_classes(const Palette& from, const Palette& to,
                               const std::map<std::string, std::string>& names) {
  std::vector<int> result(from.classes().size(), unlabeled);
  if (names.empty())
    for (std::size_t i = 0; i < result.size(); ++i)
      result[i] = to.find(from.classes()[i].name).value_or(unlabeled);
  for (const auto& [source, target] : names) {
    const auto index = from.find(source);
    const auto match = to.find(target);
    if (!index || !match)
      throw BundleError("the table from palette \"" + from.name() + "\" to \"" + to.name() +
                        "\" names " + (index ? target : source) +
                        ", which is no class of it; export the bundle again");
    result[static_cast<std::size_t>(*index)] = *match;
  }
  return result;
}

}  // namespace fgdm
