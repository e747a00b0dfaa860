// Whatever one value of a manifest is replaced by, the bundle is refused or paints a picture: no
// signal, no exception from elsewhere.
#include "spoilt_bundle.hpp"

#include <gtest/gtest.h>

#include <random>

#include "chain_bundle.hpp"
#include "fgdm/error.hpp"

namespace fgdm {
namespace {

using nlohmann::json;

class SpoiltBundles : public ::testing::Test {
protected:
  // True if a picture was painted.
  bool judge(const json& manifest, const std::string& what) {
    try {
      return bundle_.generate(manifest.dump());
    } catch (const Error& error) {
      EXPECT_LT(std::string(error.what()).size(), 2000U) << what;
    } catch (const std::exception& error) {
      ADD_FAILURE() << what << ": " << error.what();
    }
    return false;
  }

  testing::SpoiltBundle bundle_;
};

TEST_F(SpoiltBundles, TheSoundOnePaints) {
  EXPECT_TRUE(bundle_.generate(bundle_.manifest().dump()));
}

TEST_F(SpoiltBundles, AnyValueReplacedOrRemoved) {
  const auto& sound = bundle_.manifest();
  int painted = 0, number = 0;
  for (const auto& place : testing::places(sound)) {
    // The extents of shapes are all alike, and so are files: of those some values each are enough.
    const auto path = place.to_string();
    const bool alike = path.find("/shape/") != std::string::npos || path.starts_with("/files/");
    const int every = alike ? 23 : path.starts_with("/graphs/") ? 5 : 1;
    for (const auto& value : testing::replacements()) {
      if (++number % (every * FGDM_SPOILT_EVERY) != 0)
        continue;
      auto manifest = sound;
      testing::spoil(manifest, place, value);
      painted += judge(manifest, place.to_string() + " " + value.dump()) ? 1 : 0;
    }
  }
  EXPECT_GT(painted, 20 / FGDM_SPOILT_EVERY);  // names, steps and scales that are as good as others
}

// The same of a factor whose backbone is its own.
TEST_F(SpoiltBundles, AnyValueOfAnOwnBackboneReplacedOrRemoved) {
  auto sound = bundle_.manifest();
  testing::give_backbone(sound, sound["factors"][0], {"segmentation"});
  const std::string graph = "backbone_segmentation";
  sound["graphs"][graph]["file"] = sound["graphs"]["backbone"]["file"];
  EXPECT_TRUE(judge(sound, "the sound one"));
  int number = 0;
  for (const auto& place : testing::places(sound)) {
    const auto path = place.to_string();
    const bool of_factor = path.starts_with("/factors/0");
    if (!of_factor && !path.starts_with("/graphs/" + graph))
      continue;
    for (const auto& value : testing::replacements()) {
      if (++number % ((of_factor ? 1 : 3) * FGDM_SPOILT_EVERY) != 0)
        continue;
      auto manifest = sound;
      testing::spoil(manifest, place, value);
      judge(manifest, path + " " + value.dump());
    }
  }
}

TEST_F(SpoiltBundles, SeveralValuesReplaced) {
  const auto& sound = bundle_.manifest();
  const auto all = testing::places(sound);
  const auto& values = testing::replacements();
  std::mt19937 random(1);
  const auto drawn = [&](const auto& from) -> const auto& { return from[random() % from.size()]; };
  for (int round = 0; round < 500 / FGDM_SPOILT_EVERY; ++round) {
    auto manifest = sound;
    std::string what;
    for (int times = 0; times < 2 + round % 3; ++times) {
      const auto& place = drawn(all);
      // Half of the time another place's value, which is right somewhere.
      const auto value = random() % 2 == 0 ? drawn(values) : sound[drawn(all)];
      testing::spoil(manifest, place, value);
      what += place.to_string() + " ";
    }
    judge(manifest, what);
  }
}

}  // namespace
}  // namespace fgdm
