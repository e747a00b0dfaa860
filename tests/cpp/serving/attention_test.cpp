// Edits that act where their words are looked at, in the scheduler over fake graphs.
#include <algorithm>
#include <map>

#include "far_device.hpp"
#include "fgdm/error.hpp"
#include "scheduler_fixture.hpp"

namespace fgdm::looking {
namespace {

using testing::alone;
using testing::BundleFolder;
using testing::fake_graphs;
using testing::numbers_of;
using testing::small_request;
using testing::submit;
using testing::wait_for;

constexpr int stride = 2, side = 64, cells_across = 16;  // of the image's latents

// A bundle whose backbone makes attention maps at half the latents' size.
const Bundle& seeing() {
  static const auto bundle = [] {
    BundleFolder folder;
    auto manifest = folder.manifest();
    for (const auto& [name, graph] : manifest["graphs"].items())
      folder.add(graph["file"].get<std::string>(), "x");
    manifest["files"] = folder.manifest()["files"];
    auto& backbone = manifest["graphs"]["backbone"];
    backbone["attention_stride"] = stride;
    backbone["outputs"].push_back({{"name", attention_maps},
                                   {"dtype", "float32"},
                                   {"shape", {"batch", 48, "height_div_2", "width_div_2"}}});
    folder.save(manifest.dump());
    return Bundle::open(folder.path());
  }();
  return bundle;
}

Pixels picture() {
  Pixels made{side, side, std::vector<std::uint8_t>(3 * side * side)};
  for (std::size_t i = 0; i < made.data.size(); ++i)
    made.data[i] = static_cast<std::uint8_t>(37 * i % 251);
  return made;
}

Request inverting(const Bundle& bundle = seeing()) {
  auto request = small_request(5);
  request.prompt.clear();
  request.num_inference_steps = request.condition_steps = {};
  request.image = picture();
  request.factors[bundle.manifest().factors.front().name].left_out = true;
  request.editing.emplace();
  request.editing->settings.factor = "image";
  request.editing->settings.num_inference_steps = 8;
  request.editing->settings.skip = 0.0;  // from the noisiest steps on
  return request;
}

Request editing(std::shared_ptr<const Inversion> inversion, std::vector<Edit> edits) {
  auto request = inverting();
  request.image = {};
  request.editing->inversion = std::move(inversion);
  request.editing->edits = std::move(edits);
  return request;
}

Edit edit(bool attention, double threshold = 0.75) {
  Edit made;
  made.prompt = "a house";
  made.scale = 4.0;
  made.threshold = threshold;
  made.attention = attention;
  return made;
}

// What was asked of the backbone: of each call its rows, and whether its attention was wanted.
struct Asked {
  std::vector<std::pair<std::int64_t, bool>> calls;
};

// Fakes whose words 1 and 2, those of "a house", are looked at from the upper left quarter alone.
Graphs looking_graphs(Asked& asked, std::shared_ptr<Device> device = host_device()) {
  return fake_graphs(
      seeing().manifest(),
      [&asked](const std::string& graph, auto, std::span<const NamedTensor> outputs) {
        if (graph != "backbone")
          return;
        const auto found =
            std::ranges::find(outputs, std::string_view(attention_maps), &NamedTensor::name);
        asked.calls.emplace_back(outputs.front().tensor.shape.front(), found != outputs.end());
        if (found == outputs.end())
          return;
        const auto& shape = found->tensor.shape;
        ASSERT_EQ(shape[1], 48);
        ASSERT_EQ(shape[2], cells_across / stride);
        auto* values = static_cast<float*>(numbers_of(found->tensor));
        for (std::int64_t i = 0; i < static_cast<std::int64_t>(found->tensor.elements()); ++i) {
          const auto x = i % shape[3], y = i / shape[3] % shape[2];
          const auto token = i / (shape[2] * shape[3]) % shape[1];
          const bool is_there = (token == 1 || token == 2) && x < shape[3] / 2 && y < shape[2] / 2;
          // Other tokens are looked at elsewhere, and more.
          values[i] = is_there                  ? 0.4F
                      : token > 2 || token == 0 ? 0.9F - 0.01F * static_cast<float>(x)
                                                : 0.0F;
        }
      },
      {}, std::move(device));
}

// The predicted x0 of each step of an edit.
std::map<int, std::vector<float>> predicted(const Request& request, Asked& asked,
                                            std::shared_ptr<Device> device = host_device()) {
  std::map<int, std::vector<float>> x0;
  auto graphs = looking_graphs(asked, std::move(device));
  Scheduler scheduler(seeing(), graphs, {}, {});
  const auto job = submit(
      scheduler, request,
      [&](const StepInfo& info) {
        x0[info.step].assign(info.predicted_x0.begin(), info.predicted_x0.end());
        return false;
      },
      seeing());
  EXPECT_TRUE(wait_for(*job));
  return x0;
}

std::shared_ptr<const Inversion> inverted() {
  static const auto found = alone(inverting(), seeing()).inversion;
  return found;
}

// How many cells of the upper left quarter differ, and of the rest.
std::pair<int, int> differing(const std::vector<float>& a, const std::vector<float>& b) {
  std::pair<int, int> counts{0, 0};
  for (int i = 0; i < cells_across * cells_across; ++i) {
    bool differs = false;
    for (int channel = 0; channel < 4; ++channel) {
      const auto place = static_cast<std::size_t>(channel * cells_across * cells_across + i);
      differs = differs || a[place] != b[place];
    }
    const bool inside = i % cells_across < cells_across / 2 && i / cells_across < cells_across / 2;
    (inside ? counts.first : counts.second) += differs ? 1 : 0;
  }
  return counts;
}

// Protects the masks of cross-attention: an edit acts where its own words, and no others, are
// looked at; in noisy steps everywhere there, later where its prediction differs most, too.
TEST(Attention, ConfinesAnEditToWhereItsWordsAreLookedAt) {
  Asked asked;
  const auto cells_of = [&](const Edit& one, int step) {
    auto nothing = one;
    nothing.scale = 0.0;
    return differing(predicted(editing(inverted(), {one}), asked).at(step),
                     predicted(editing(inverted(), {nothing}), asked).at(step));
  };
  auto looks = edit(true);
  looks.cool_down = 1;  // later steps see the whole of what it has changed
  const auto early = cells_of(looks, 0);
  EXPECT_GE(early.first, 60) << "a quarter of 256 cells, but for those that came out equal";
  EXPECT_EQ(early.second, 0);
  looks.warm_up = 4;
  looks.cool_down = 5;
  const auto late = cells_of(looks, 4);
  looks.attention = false;
  const auto anywhere = cells_of(looks, 4);
  EXPECT_EQ(late, (std::pair<int, int>{anywhere.first, 0}));
  EXPECT_GT(late.first, 0);
  EXPECT_LT(late.first, 60);
  EXPECT_GT(anywhere.second, 0);
}

// Protects maps from masks of the words that stand before every prompt of their factor.
TEST(Attention, IsThatOfTheEditsOwnWords) {
  auto inverts = inverting();
  const auto& map_factor = seeing().manifest().factors.front();
  inverts.image = {};
  inverts.factors[map_factor.name].left_out = false;
  inverts.factors[map_factor.name].map = {32, 32, std::vector<std::uint8_t>(32 * 32, 2)};
  inverts.editing->settings.factor = map_factor.name;
  auto edits = inverts;
  edits.prompt = "a house";
  edits.factors[map_factor.name].map = {};
  edits.editing->inversion = alone(inverts, seeing()).inversion;
  edits.editing->edits = {edit(true), edit(true)};
  for (int words = 0; words < 60; ++words)
    edits.editing->edits[1].prompt += " house";
  const auto texts = read_texts(resolve(edits, seeing().manifest()), seeing());
  const auto& read = texts.factors.front().edits;
  ASSERT_EQ(map_factor.prompt_prefix, "a map of ");
  ASSERT_EQ(read.size(), 2U);
  const auto alone_ids = seeing().tokenizer().encode("a house");
  ASSERT_EQ(read[0].tokens, 2);
  for (int token = 0; token < 2; ++token)
    EXPECT_EQ(read[0].prompt.ids.at(static_cast<std::size_t>(read[0].first_token + token)),
              alone_ids.at(static_cast<std::size_t>(1 + token)));
  EXPECT_EQ(read[1].first_token, read[0].first_token);
  EXPECT_EQ(read[1].first_token + read[1].tokens, 48 - 1) << "up to the end token";
}

// Protects every other step, and bundle, from the cost of an output that nobody looks at.
TEST(Attention, IsAskedForOnlyWhereAnEditLooksAtIt) {
  Asked asked;
  auto looks = edit(true), plain = edit(false);
  looks.warm_up = 2;
  looks.cool_down = 4;
  predicted(editing(inverted(), {plain, looks}), asked);
  const std::vector<std::pair<std::int64_t, bool>> expected{
      {2, false}, {2, false}, {3, true}, {3, true}, {2, false}, {2, false}, {2, false}, {2, false}};
  EXPECT_EQ(asked.calls, expected);
}

TEST(Attention, IsTheSameOnADeviceOfItsOwn) {
  Asked asked;
  const auto request = editing(inverted(), {edit(true)});
  EXPECT_EQ(predicted(request, asked, std::make_shared<testing::FarDevice>()),
            predicted(request, asked));
}

// Protects a bundle without the maps from an edit that would act everywhere instead.
TEST(Attention, ABundleWithoutMapsSaysWhatItNeeds) {
  auto request = inverting();
  request.editing->following = {edit(true)};
  resolve(request, seeing().manifest());
  try {
    resolve(request, testing::scenes().manifest());
    FAIL();
  } catch (const RequestError& error) {
    EXPECT_STREQ(error.what(),
                 "edits[0] attention is set, but the graph backbone of this bundle makes no "
                 "attention maps; export the bundle again with --attention-maps, or leave "
                 "attention out");
  }
}

}  // namespace
}  // namespace fgdm::looking
