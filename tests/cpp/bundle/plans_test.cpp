// A plan that doesn't belong to the bundle, the GPU or the runtime must never be loaded, and rows
// must go to the smallest bucket that holds them. The key is one that Python's json and hashlib
// made, as `fgdm build` does.
#include "plans.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "fgdm/error.hpp"
#include "fgdm/sha256.hpp"
#include "manifest_fixture.hpp"
#include "plan_loader.hpp"
#include "temp_folder.hpp"
#include "tensorrt_runtime.hpp"

namespace fgdm {
namespace {

using nlohmann::json;

// hashlib.sha256(json.dumps(covers, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
constexpr const char* key = "0f13afa67b997feaf0263f7c8136e36c8471005894dd11926cb943ee86485bdb";

json metadata() {
  json made = json::parse(R"({
    "schema": 1,
    "covers": {
      "recipe": 2, "tf32": false, "target": "tensorrt", "runtime": "10.3.0.26", "gpus": ["sm_87", "sm_89"],
      "precision": "fp16", "graph": "backbone", "graph_file": "backbone.onnx", "files": {},
      "profiles": [{"rows": 2, "height": 64, "width": 64}, {"rows": 8, "height": 64, "width": 64}],
      "inputs": [{"name": "sample", "dtype": "float32",
                  "shapes": [[2, 4, 16, 16], [8, 4, 16, 16]]}],
      "outputs": [{"name": "noise_pred", "dtype": "float32",
                   "shapes": [[2, 4, 16, 16], [8, 4, 16, 16]]}],
      "segfree_attention": "plugin",
      "plugin": {"name": "SegFreeAttention", "namespace": "fgdm", "version": "1"}},
    "plan": {"size": 4}, "built": {}})");
  made["covers"]["files"] = {{"backbone.onnx", std::string(64, '0')},
                             {"gewichte/größe.bin", std::string(64, '1')}};
  made["plan"]["sha256"] = std::string(64, '2');
  return made;
}

std::map<std::string, FileSpec> files() {
  return {{"backbone.onnx", {100, std::string(64, '0')}},
          {"gewichte/größe.bin", {100, std::string(64, '1')}}};
}

std::filesystem::path key_path(const std::string& stem = key) {
  return std::filesystem::path("plans/tensorrt") / (stem + ".json");
}

// What is said of metadata after a change, with the key that belongs to it or with the first one.
std::string refusal(const std::function<void(json&)>& change, bool with_its_key = true) {
  auto changed = metadata();
  change(changed);
  std::string stem = key;
  if (with_its_key) {
    const auto covers = changed["covers"].dump(-1, ' ', true);
    Sha256 hash;
    hash.update(std::as_bytes(std::span(covers)));
    stem = hash.hex();
  }
  try {
    Plan::parse(changed.dump(), key_path(stem), files());
  } catch (const BundleError& error) {
    return error.what();
  }
  return "";
}

Plan bucket(int rows, bool plugin = false, const std::string& graph = "backbone") {
  Plan plan;
  plan.file = graph + std::to_string(rows) + ".plan";
  plan.graph = graph;
  plan.runtime = "10.3.0.26";
  plan.gpus = {"sm_87"};
  plan.uses_plugin = plugin;
  plan.profiles = {{64, 64, rows}};
  plan.inputs = {{"sample", {{rows, 4, 16, 16}}}, {"attn_scale", {{rows}}}};
  plan.outputs = {{"noise_pred", {{rows, 4, 16, 16}}}};
  return plan;
}

// The bucket that some rows of a latent of that height would run with; 0 if there is none.
int chosen(std::span<const Plan> plans, std::int64_t rows, std::int64_t height = 16) {
  const std::array<NamedTensor, 2> inputs{
      {{"sample", {DType::float32, {rows, 4, height, 16}, nullptr}},
       {"attn_scale", {DType::float32, {rows}, nullptr}}}};
  const NamedTensor output{"noise_pred", {DType::float32, {rows, 4, height, 16}, nullptr}};
  const auto choice =
      choose_profile(plans, "backbone", inputs, {&output, 1}, static_cast<std::size_t>(rows));
  return choice ? choice->plan->profiles[choice->profile].rows : 0;
}

TEST(PlanMetadata, ReadsWhatFgdmBuildWrites) {
  const auto plan = Plan::parse(metadata().dump(), key_path(), files());
  EXPECT_EQ(plan.file.string(), "plans/tensorrt/" + std::string(key) + ".plan");
  EXPECT_EQ(plan.graph, "backbone");
  EXPECT_EQ(plan.gpus, (std::vector<std::string>{"sm_87", "sm_89"}));
  EXPECT_EQ(plan.precision, "fp16");
  EXPECT_TRUE(plan.uses_plugin);
  ASSERT_EQ(plan.profiles.size(), 2U);
  EXPECT_EQ(plan.profiles[1].rows, 8);
  EXPECT_EQ(plan.inputs[0].shapes[1], (std::vector<std::int64_t>{8, 4, 16, 16}));
  EXPECT_EQ(plan.size, 4U);
}

TEST(PlanMetadata, WhatWasAlteredOrIsStaleIsRefused) {
  EXPECT_EQ(refusal([](json&) {}), "");
  const auto runtime = [](json& m) { m["covers"]["runtime"] = "11.0"; };
  EXPECT_NE(refusal(runtime, false).find("altered"), std::string::npos);
  EXPECT_EQ(refusal(runtime), "");
  const auto weights = [](json& m) {
    m["covers"]["files"]["backbone.onnx"] = std::string(64, '9');
  };
  EXPECT_NE(refusal(weights).find("stale: backbone.onnx"), std::string::npos);
  const auto other = [](json& m) { m["covers"]["files"]["other.bin"] = std::string(64, '9'); };
  EXPECT_NE(refusal(other).find("stale: other.bin"), std::string::npos);
  const auto older = [](json& m) { m["covers"].erase("tf32"); };
  EXPECT_NE(refusal(older).find("stale: built with TF32"), std::string::npos);
  const auto allowed = [](json& m) { m["covers"]["tf32"] = true; };
  EXPECT_NE(refusal(allowed).find("stale: built with TF32"), std::string::npos);
}

TEST(PlanMetadata, DamageIsRefusedWithTheFilesName) {
  const std::vector<std::function<void(json&)>> damages{
      [](json& m) { m["schema"] = 2; },
      [](json& m) { m["schema"] = 0; },
      [](json& m) { m["plan"]["sha256"] = "2"; },
      [](json& m) { m["covers"]["precision"] = "int8"; },
      [](json& m) { m["covers"]["segfree_attention"] = "some"; },
      [](json& m) { m.erase("plan"); },
      [](json& m) { m["plan"]["size"] = "four"; },
      [](json& m) { m["covers"]["profiles"][0]["rows"] = 0; },
      [](json& m) { m["covers"]["profiles"].erase(1); },
      [](json& m) { m["covers"]["inputs"][0]["shapes"][1] = json::array(); },
      [](json& m) { m["covers"]["gpus"] = "sm_87"; }};
  for (std::size_t i = 0; i < damages.size(); ++i)
    EXPECT_NE(refusal(damages[i]).find(".json: "), std::string::npos) << i;
  EXPECT_THROW(Plan::parse("{", key_path(), files()), BundleError);
}

// A number of another kind or size is no damage that is converted to something.
TEST(PlanMetadata, NumbersOutOfTheirRangeAreRefusedByName) {
  const auto& places = std::vector<std::pair<std::string, std::string>>{
      {"/schema", "schema"},
      {"/plan/size", "plan.size"},
      {"/covers/profiles/1/rows", "covers.profiles[1].rows"},
      {"/covers/profiles/0/height", "covers.profiles[0].height"},
      {"/covers/profiles/0/width", "covers.profiles[0].width"},
      {"/covers/inputs/0/shapes/0/3", "covers.inputs[0].shapes[0][3]"},
      {"/covers/outputs/0/shapes/1/0", "covers.outputs[0].shapes[1][0]"}};
  for (const auto& [pointer, name] : places)
    for (const char* number : {"1e300", "-1", "1.5", "\"NaN\"", "null", "true", "[]",
                               "4294967297000000", "18446744073709551615"}) {
      const json::json_pointer place(pointer);
      const auto told = refusal([&](json& m) { m[place] = json::parse(number); });
      if (pointer == "/plan/size" && told.empty())
        continue;  // four petabytes are possible
      EXPECT_NE(told.find(".json: " + name + " "), std::string::npos)
          << name << ' ' << number << ": " << told;
    }
}

TEST(Plans, FitTheirArchitectureAndVersionOnly) {
  const auto plan = bucket(2);
  EXPECT_EQ(obstacle(plan, {"sm_87", "10.3.0"}), "");
  EXPECT_NE(obstacle(plan, {"sm_89", "10.3.0"}).find("sm_89"), std::string::npos);
  EXPECT_NE(obstacle(plan, {"sm_87", "10.3.1"}).find("10.3.1"), std::string::npos);
  EXPECT_NE(obstacle(plan, {"sm_87", "10.30.0"}), "");
}

TEST(Plans, RowsTakeTheSmallestBucketThatHoldsThem) {
  const std::vector<Plan> plans{bucket(8), bucket(1), bucket(4)};
  EXPECT_EQ(chosen(plans, 1), 1);
  EXPECT_EQ(chosen(plans, 2), 4);
  EXPECT_EQ(chosen(plans, 4), 4);
  EXPECT_EQ(chosen(plans, 5), 8);
  EXPECT_EQ(chosen(plans, 100), 8);  // as many as there can be
  EXPECT_EQ(chosen(plans, 4, 32), 0);
}

TEST(Plans, TheProfilesOfOnePlanAreBucketsToo) {
  auto shared = bucket(2);
  shared.profiles.push_back({64, 64, 6});
  shared.inputs[0].shapes.push_back({6, 4, 16, 16});
  shared.inputs[1].shapes.push_back({6});
  shared.outputs[0].shapes.push_back({6, 4, 16, 16});
  EXPECT_EQ(chosen({&shared, 1}, 3), 6);
  EXPECT_EQ(chosen({&shared, 1}, 2), 2);
}

TEST(Plans, OfEqualsTheOneWithThePluginIsTaken) {
  const std::vector<Plan> plans{bucket(4), bucket(4, true), bucket(4)};
  const std::array<NamedTensor, 2> inputs{{{"sample", {DType::float32, {3, 4, 16, 16}, nullptr}},
                                           {"attn_scale", {DType::float32, {3}, nullptr}}}};
  const NamedTensor output{"noise_pred", {DType::float32, {3, 4, 16, 16}, nullptr}};
  EXPECT_EQ(choose_profile(plans, "backbone", inputs, {&output, 1}, 3)->plan, &plans[1]);
  EXPECT_FALSE(choose_profile(plans, "vae_decoder", inputs, {&output, 1}, 3));
}

TEST(Plans, GraphsOfTheChainWithoutAPlanAreNamed) {
  const auto manifest = Manifest::parse(test::valid_manifest().dump());
  std::vector<Plan> plans;
  EXPECT_EQ(uncovered(manifest, plans),
            (std::vector<std::string>{
                "text_encoder", "backbone at 64x64", "vae_decoder at 64x64",
                "adapter_segmentation at 64x64", "backbone at 128x128", "vae_decoder at 128x128",
                "controlnet_segmentation at 128x128", "controlnet_hint at 128x128"}));
  const auto add = [&](const std::string& graph, int size) {
    plans.push_back(bucket(2, false, graph));
    plans.back().profiles = {{size, size, 2}};
  };
  add("text_encoder", 0);
  for (const char* graph : {"backbone", "vae_decoder"})
    for (const int size : {64, 128})
      add(graph, size);
  add("adapter_segmentation", 64);
  add("controlnet_segmentation", 128);
  EXPECT_EQ(uncovered(manifest, plans), (std::vector<std::string>{"controlnet_hint at 128x128"}));
  std::vector<std::string> problems;
  EXPECT_THROW(fitting_plans(manifest, plans, {"sm_87", "10.3.0"}, problems), BackendError);
  add("controlnet_hint", 128);
  EXPECT_EQ(fitting_plans(manifest, plans, {"sm_87", "10.3.0"}, problems).size(), plans.size());
  EXPECT_TRUE(problems.empty());
  try {
    fitting_plans(manifest, plans, {"sm_90", "10.3.0"}, problems);
    FAIL();
  } catch (const BackendError& error) {
    EXPECT_NE(std::string(error.what()).find("this GPU is sm_90"), std::string::npos);
  }
  auto own = manifest;
  own.factors[0].own_backbone = "backbone_segmentation";
  EXPECT_EQ(uncovered(own, plans), (std::vector<std::string>{"backbone_segmentation at 64x64"}));
}

TEST(Plans, AreFoundInABundleAndIncompleteOnesAreTold) {
  const testing::TempFolder bundle;
  const auto folder = bundle / "plans" / "tensorrt";
  std::filesystem::create_directories(folder);
  Manifest manifest;
  manifest.files = files();
  std::ofstream(folder / (std::string(key) + ".json")) << metadata().dump(1);
  std::ofstream(folder / (std::string(key) + ".layers.json")) << "[]";
  std::ofstream(folder / "timing.sm_87.cache") << "?";
  std::vector<std::string> problems;
  EXPECT_TRUE(find_plans(*folder_tree(bundle.path()), manifest, "tensorrt", problems).empty());
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_NE(problems[0].find("missing or incomplete"), std::string::npos);
  std::ofstream(folder / (std::string(key) + ".plan")) << "1234";
  problems.clear();
  EXPECT_EQ(find_plans(*folder_tree(bundle.path()), manifest, "tensorrt", problems).size(), 1U);
  EXPECT_TRUE(problems.empty());
  EXPECT_TRUE(find_plans(*folder_tree(bundle.path()), manifest, "tensorrt-rtx", problems).empty());
}

TEST(TensorRt, AskingForWhatIsNotThereSaysHowToGetIt) {
  try {
    open_tensorrt("/nowhere/libnvinfer.so");
    FAIL();
  } catch (const BackendError& error) {
    const std::string help = tensorrt_headers().empty() ? "FGDM_TENSORRT_INCLUDE" : "/nowhere";
    EXPECT_NE(std::string(error.what()).find(help), std::string::npos) << error.what();
  }
}

TEST(TensorRt, ALibraryOfAnotherKindIsRefused) {
  if (tensorrt_headers().empty())
    GTEST_SKIP() << "built without TensorRT's headers";
  EXPECT_THROW(open_tensorrt("libm.so.6"), BackendError);
}

}  // namespace
}  // namespace fgdm
