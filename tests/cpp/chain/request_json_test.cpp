#include "request_json.hpp"

#include <gtest/gtest.h>

#include "fgdm/error.hpp"
#include "fgdm/json.hpp"
#include "runtime_fixture.hpp"

namespace fgdm {
namespace {

using nlohmann::json;
using testing::expect_words;
using testing::refusal;

// Every option, each of another value than its default.
const json everything = json::parse(R"({
  "prompt": "a dog", "negative_prompt": "a\ncat", "objects": ["dog"], "candidates": 3,
  "seed": 18446744073709551615, "condition_steps": 4, "num_inference_steps": 5, "guidance": "segfree",
  "guidance_scale": 2.5, "condition_guidance_scale": 3.5, "segfree_scale": 9.0,
  "segfree_guidance_scale": 4.0, "segfree_start": 0.25, "controlnet_conditioning_scale": [0.5, 1.5],
  "loras": {"line": -0.5, "style": 0.75},
  "sampler": "euler", "condition_sampler": "unipc", "timestep_spacing": "trailing",
  "condition_timestep_spacing": "karras", "cache_interval": 2, "cache_level": 1, "min_area": 0.01,
  "height": 64, "width": 96, "latents": null, "condition_latents": null, "control_images": [],
  "factors": {"depth": null, "segmentation": {
    "prompt": "b", "negative_prompt": "c", "objects": ["tree"], "candidates": 2,
    "condition_steps": 7, "sampler": "ddim", "timestep_spacing": "leading", "cache_interval": 3,
    "cache_level": 2, "guidance_scale": 1.5, "guidance_interval": [0.1, 0.9], "prune": [2],
    "stop_at_recall": 0.5, "min_area": 0.2, "wave": 1, "map": null, "strength": 0.75,
    "latents": null}},
  "joint": ["segmentation", "image"], "joint_refresh": 2, "image": null, "strength": 0.5,
  "mask": null, "prune": [1, 2], "stop_at_recall": 0.75, "wave": 2, "select": "compliance",
  "stop_at_compliance": 0.5, "requirements": {"absent": ["cat"]}, "articles_count": true,
  "instance_opening": 3, "forbid": ["person"], "guidance_interval": [0.2, 0.8],
  "condition_guidance_interval": [0.0, 0.5], "priority": -4, "editing": null, "deadline": 2.5})");

TEST(RequestJson, EveryOptionComesBackAsItWasGiven) {
  const auto request = request_from(everything);
  EXPECT_EQ(json(parameters_of(request)), everything);
  EXPECT_TRUE(request.factors.at("depth").left_out);
  EXPECT_EQ(request.seed, 18446744073709551615U);
  EXPECT_EQ(request.sampler, SamplerKind::euler);
  EXPECT_EQ(request.factors.at("segmentation").wave, 1);
}

TEST(RequestJson, WhatIsEditedIsToldAndNotRead) {
  Request request;
  request.editing.emplace().settings.factor = "depth";
  auto& edit = request.editing->edits.emplace_back();
  edit.prompt = "a dog";
  edit.away = true;
  const auto told = parameters_of(request).at("editing");
  EXPECT_EQ(told.at("factor"), "depth");
  EXPECT_EQ(told.at("sampler"), "dpmsolver++_sde");
  EXPECT_EQ(told.at("edits").size(), 1U);
  EXPECT_EQ(told.at("edits")[0].at("away"), true);
  EXPECT_TRUE(told.at("edits")[0].at("mask").is_null());
  EXPECT_THROW(request_from({{"editing", told}}), RequestError);
}

TEST(RequestJson, WhatIsNullOrLeftOutIsADefault) {
  const Request defaults;
  auto nulls = everything;
  for (auto& [name, value] : nulls.items())
    value = nullptr;
  for (const auto& made : {request_from(json::object()), request_from(nulls)}) {
    EXPECT_EQ(made.candidates, defaults.candidates);
    EXPECT_EQ(made.sampler, std::nullopt);
    EXPECT_EQ(made.guidance_interval.stop, 1.0);
    EXPECT_TRUE(made.factors.empty() && made.forbid.empty() && !made.requirements);
  }
}

TEST(RequestJson, OneScaleIsForAllNetworks) {
  EXPECT_EQ(request_from({{"controlnet_conditioning_scale", 0.5}}).controlnet_conditioning_scale,
            std::vector{0.5});
}

TEST(RequestJson, ValuesOfAnotherTypeAreRefusedByName) {
  for (const auto& [name, value] : everything.items()) {
    if (value.is_null() || name == "requirements" || name == "forbid" || name == "control_images")
      continue;  // arrays, and what is checked with the palette
    const json wrong = value.is_object() || value.is_string() ? json(true) : json("wrong");
    const json spoilt = {{name, wrong}};
    const auto said = refusal<RequestError>([&] { request_from(spoilt); });
    expect_words(said, {name.c_str(), "expected"});
  }
  const auto refused = [](const char* text) {
    return refusal<RequestError>([&] { parse_request(text); });
  };
  expect_words(refused(R"({"seed": -1})"), {"seed is -1", "18446744073709551615"});
  expect_words(refused(R"({"candidates": 4294967297})"), {"candidates is 4294967297"});
  expect_words(refused(R"({"candidates": 2.0})"), {"a whole number"});
  expect_words(refused(R"({"objects": ["dog", 1]})"), {"objects[1] is 1", "text"});
  expect_words(refused(R"({"guidance_interval": [0.1]})"), {"two fractions"});
  expect_words(refused(R"({"sampler": "eulr"})"), {"sampler is \"eulr\"", "unipc"});
  expect_words(refused(R"({"factors": {"depth": {"step": 1}}})"), {"factors.depth.step"});
  expect_words(refused(R"({"latents": [1, 2]})"), {"latents", "arrays"});
  expect_words(refused(R"({"control_images": ["pose"]})"), {"control_images", "arrays"});
  expect_words(refused(R"({"prompt": 1, "prompt": 2})"), {"prompt"});
}

TEST(RequestJson, AnEnginesOptionsAreRead) {
  const auto options = parse_engine_options(
      R"({"backend": "cpu", "precision": "fp32", "threads": 2, "library": "a.so",
          "tensorrt_library": "b.so", "plugins": ["c.so", "d.so"], "device": 1,
          "memory": "low", "attention": "standard", "contexts": "kept",
          "stream": 140737488355328, "max_batch_rows": 4, "max_queue": 5, "max_active": 6,
          "policy": "throughput", "profile": "p.json", "trace": "t.json", "forbid": ["person"]})");
  EXPECT_EQ(options.backend, "cpu");
  EXPECT_EQ(options.precision, "fp32");
  EXPECT_EQ(options.threads, 2);
  EXPECT_EQ(options.library, "a.so");
  EXPECT_EQ(options.tensorrt_library, "b.so");
  EXPECT_EQ(options.plugins, (std::vector<std::filesystem::path>{"c.so", "d.so"}));
  EXPECT_EQ(options.device, 1);
  EXPECT_EQ(options.memory, "low");
  EXPECT_EQ(options.attention, "standard");
  EXPECT_EQ(options.contexts, "kept");
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(options.stream), 1ULL << 47U);
  EXPECT_EQ(options.max_batch_rows, 4);
  EXPECT_EQ(options.max_queue, 5);
  EXPECT_EQ(options.max_active, 6);
  EXPECT_EQ(options.policy, "throughput");
  EXPECT_EQ(options.profile, "p.json");
  EXPECT_EQ(options.trace, "t.json");
  EXPECT_EQ(options.forbid, R"(["person"])");
  EXPECT_EQ(parse_engine_options("{}").max_queue, EngineOptions{}.max_queue);
  EXPECT_EQ(parse_engine_options("{}").contexts, EngineOptions{}.contexts);
  expect_words(refusal<RequestError>([] { parse_engine_options(R"({"threads": "2"})"); }),
               {"threads is \"2\"", "a whole number"});
}

}  // namespace
}  // namespace fgdm
