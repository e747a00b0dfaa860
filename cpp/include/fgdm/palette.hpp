#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fgdm/api.h"

namespace fgdm {

// One class of a label map. Its index is its position in the palette.
struct FGDM_API PaletteClass {
  std::string name;
  std::array<std::uint8_t, 3> color;  // RGB
  bool thing;                         // false: background
  std::vector<std::string> synonyms;
  std::vector<std::string> forms;  // all words and phrases that name it in a prompt, plurals too
};

// What words of a prompt say that no single class does: "bald" is a face without hair, "eyes" are
// two classes, and "young" is nothing that a map shows.
struct FGDM_API PaletteAttribute {
  std::string name;
  std::vector<std::string> words;    // words and phrases that say it, as they are
  std::vector<int> present, absent;  // classes that are there, and that aren't, on a map of it
  bool shown;                        // whether those say all of it
};

// An attribute as it is asked for.
struct FGDM_API SaidAttribute {
  int index;    // in the palette's list
  bool denied;  // "no beard"

  bool operator==(const SaidAttribute&) const = default;
};

// The label of a pixel that belongs to no class.
inline constexpr std::uint8_t unlabeled = 255;

// How far a decoded colour may lie from its class's, per channel, where a palette doesn't say. (In
// the COCO-Stuff palette of the FG-DM paper the nearest two colours lie 32 apart.)
inline constexpr int default_tolerance = 28;

// The classes that a label map can hold, at most 255, with distinct names and colours. Immutable.
class FGDM_API Palette {
public:
  // Parses a bundle's palette.json. Throws BundleError that names what is wrong.
  static Palette parse(std::string_view json);

  const std::string& name() const { return name_; }
  // How far a decoded colour may lie from its class's, per channel (L infinity), 0 to 255.
  int tolerance() const { return tolerance_; }
  const std::vector<PaletteClass>& classes() const { return classes_; }
  // None, if the file has none.
  const std::vector<PaletteAttribute>& attributes() const { return attributes_; }

  // The index of the class with exactly this name; synonyms are not searched.
  std::optional<int> find(std::string_view name) const;

private:
  Palette() = default;

  std::string name_;
  int tolerance_ = default_tolerance;
  std::vector<PaletteClass> classes_;
  std::vector<PaletteAttribute> attributes_;
};

// In all functions below, `labels` holds one class index (or `unlabeled`) per pixel, height * width
// of them, and `rgb` three bytes per pixel, height * width * 3. They throw RequestError if sizes
// disagree or a tolerance lies outside 0 to 255.

// Labels each pixel with the class of the nearest colour in the largest difference per channel (L
// infinity) if that is at most `tolerance` (the palette's own, if none is given), else unlabeled.
// Of equally near colours the one with the smaller sum of differences (L1) wins, then the lower
// index.
FGDM_API void decode_labels(const Palette& palette, std::span<const std::uint8_t> rgb,
                            std::span<std::uint8_t> labels,
                            std::optional<int> tolerance = std::nullopt);

// The rule of the original FG-DM code: of all classes within `tolerance` per channel, the one with
// the highest index.
FGDM_API void decode_labels_box(const Palette& palette, std::span<const std::uint8_t> rgb,
                                std::span<std::uint8_t> labels,
                                std::optional<int> tolerance = std::nullopt);

// Paints labels in the palette's colours; unlabeled pixels are black. Throws RequestError for a
// label that the palette lacks.
FGDM_API void render_labels(const Palette& palette, std::span<const std::uint8_t> labels,
                            std::span<std::uint8_t> rgb);

// Converts a decoded image, planar (3, height, width) in -1 to 1, to interleaved bytes as diffusers
// does: x / 2 + 1/2, clamped to 0..1, times 255, rounded half to even. NaN becomes 0.
FGDM_API void image_to_rgb(std::span<const float> chw, int height, int width,
                           std::span<std::uint8_t> rgb);

// Resizes a label map: each pixel takes the label at its centre, as PIL's NEAREST does.
FGDM_API void resize_nearest(std::span<const std::uint8_t> labels, int height, int width,
                             std::span<std::uint8_t> resized, int resized_height,
                             int resized_width);

// For each class of `from`, the index in `to` of the class that `names` gives for it, or, where
// `names` is empty, of the class with the same name; `unlabeled` where there is none: the table
// that recolours a map for a model trained on another palette. Throws BundleError if `names` speaks
// of a class that a palette lacks.
FGDM_API std::vector<int> match_classes(const Palette& from, const Palette& to,
                                        const std::map<std::string, std::string>& names = {});

}  // namespace fgdm
