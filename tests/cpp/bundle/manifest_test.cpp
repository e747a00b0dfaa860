// The manifest decides what is loaded: every field that could mislead the engine must be refused
// with its path, whatever a damaged or hostile file says.
#include "fgdm/manifest.hpp"

#include <gtest/gtest.h>

#include <functional>

#include "fgdm/error.hpp"
#include "manifest_fixture.hpp"

namespace {

using fgdm::BundleError;
using fgdm::Manifest;
using fgdm::test::valid_manifest;
using nlohmann::json;

std::string refusal(const std::string& text) {
  try {
    Manifest::parse(text);
  } catch (const BundleError& error) {
    return error.what();
  }
  return "";
}

std::string refusal_after(const std::function<void(json&)>& change) {
  auto manifest = valid_manifest();
  change(manifest);
  return refusal(manifest.dump());
}

TEST(Manifest, ReadsEveryField) {
  const auto manifest = Manifest::parse(valid_manifest().dump());
  EXPECT_EQ(manifest.name, "tiny");
  EXPECT_EQ(manifest.max_length, 16);
  EXPECT_EQ(manifest.latent_downscale, 4);
  ASSERT_EQ(manifest.factors.size(), 2U);
  EXPECT_FALSE(manifest.factors[0].is_image);
  EXPECT_EQ(manifest.factors[0].palette, "palette.json");
  EXPECT_EQ(manifest.factors[0].prompt_prefix, "a map of ");
  EXPECT_EQ(manifest.factors[1].conditionings.at(0).condition, "segmentation");
  EXPECT_EQ(manifest.factors[1].conditionings.at(0).scale, 0.5);
  EXPECT_EQ(manifest.factors[0].sampler, fgdm::SamplerKind::ddim);  // where nothing is said
  EXPECT_EQ(manifest.factors[1].sampler, fgdm::SamplerKind::dpmsolver_multistep);
  EXPECT_EQ(manifest.factors[1].guidance.kind, fgdm::GuidanceKind::segfree);
  EXPECT_FLOAT_EQ(manifest.factors[1].guidance.segfree_guidance_scale, 3.5F);
  EXPECT_EQ(manifest.residual("down_residual_1").stride, 2);
  EXPECT_EQ(manifest.graph("backbone").inputs.at(0).shape,
            (std::vector<std::int64_t>{-1, 4, -1, -1}));
}

TEST(Manifest, ANewerSchemaSaysUpgrade) {
  const auto message = refusal_after([](json& m) { m["schema"] = 4; });
  EXPECT_NE(message.find("schema 4"), std::string::npos) << message;
  EXPECT_NE(message.find("upgrade fgdm"), std::string::npos) << message;
}

TEST(Manifest, EveryMissingFieldIsNamed) {
  for (const char* key : {"schema", "name", "text_encoder", "autoencoder", "backbone", "scheduler",
                          "factors", "graphs", "files"}) {
    const auto message = refusal_after([&](json& m) { m.erase(key); });
    EXPECT_NE(message.find(key), std::string::npos) << key << ": " << message;
  }
}

TEST(Manifest, WrongValuesAreNamedWithTheirPath) {
  const std::vector<std::pair<std::string, std::function<void(json&)>>> cases{
      {"text_encoder.max_length", [](json& m) { m["text_encoder"]["max_length"] = -1; }},
      {"text_encoder.max_length", [](json& m) { m["text_encoder"]["max_length"] = "77"; }},
      {"autoencoder.downscale", [](json& m) { m["autoencoder"]["downscale"] = 0; }},
      {"backbone.down_residuals[1].channels",
       [](json& m) { m["backbone"]["down_residuals"][1]["channels"] = 18446744073709551615U; }},
      {"scheduler.beta_end", [](json& m) { m["scheduler"]["beta_end"] = 2.5; }},
      {"scheduler lacks \"beta_schedule\"", [](json& m) { m["scheduler"].erase("beta_schedule"); }},
      {"trained_betas has 2 values, expected 1000",
       [](json& m) { m["scheduler"]["trained_betas"] = {0.1, 0.2}; }},
      {"scheduler.trained_betas is empty",
       [](json& m) { m["scheduler"]["trained_betas"] = json::array(); }},
      {"scheduler.timestep_spacing is \"karras\"",
       [](json& m) { m["scheduler"]["timestep_spacing"] = "karras"; }},
      {"scheduler.timestep_spacing lacks \"dpmsolver++\"",
       [](json& m) { m["scheduler"]["timestep_spacing"] = {{"ddim", "leading"}}; }},
      {"scheduler.set_alpha_to_one", [](json& m) { m["scheduler"]["set_alpha_to_one"] = 1; }},
      {"prediction_type is \"sample\", expected \"epsilon\" or \"v_prediction\"",
       [](json& m) { m["scheduler"]["prediction_type"] = "sample"; }},
      {"factors[1].guidance", [](json& m) { m["factors"][1]["guidance"] = "none"; }},
      {"factors[0].min_area", [](json& m) { m["factors"][0]["min_area"] = 1.5; }},
      {"factors[0].sampler is \"heun\"", [](json& m) { m["factors"][0]["sampler"] = "heun"; }},
      {"factor image has steps that its sampler can't take: num_inference_steps is 60",
       [](json& m) {
         m["factors"][1]["sampler"] = "tcd";
         m["factors"][1]["timestep_spacing"] = "trailing";
         m["factors"][1]["num_inference_steps"] = 60;
       }},
      {"factors[0].timestep_spacing is \"beta\", expected \"leading\", \"trailing\", ",
       [](json& m) { m["factors"][0]["timestep_spacing"] = "beta"; }},
      {"float23", [](json& m) { m["graphs"]["backbone"]["inputs"][0]["dtype"] = "float23"; }},
      {"adapter_segmentation", [](json& m) { m["graphs"].erase("adapter_segmentation"); }},
      {"backbone.onnx", [](json& m) { m["files"].erase("backbone.onnx"); }},
      {"palette.json", [](json& m) { m["files"].erase("palette.json"); }},
      {"needs the map of \"image\"",
       [](json& m) {
         m["factors"][0]["conditionings"].push_back(m["factors"][1]["conditionings"][0]);
         m["factors"][0]["conditionings"][1]["condition"] = "image";
       }},
      {"conditionings[0].kind", [](json& m) { m["factors"][1]["conditionings"][0]["kind"] = "x"; }},
      {"conditionings[0].scale is 11",
       [](json& m) { m["factors"][1]["conditionings"][0]["scale"] = 11; }},
      {"ade20k.json",
       [](json& m) { m["factors"][1]["conditionings"][0]["hint_palette"] = "ade20k.json"; }},
      {"image", [](json& m) { m["factors"].erase(1); }},
      {"segmentation", [](json& m) { m["factors"].insert(m["factors"].begin(), m["factors"][0]); }},
      {"divisible", [](json& m) { m["factors"][0]["height"] = 72; }},
      {"names the palette \"\"", [](json& m) { m["factors"][0]["palette"] = ""; }},
      {"created_by", [](json& m) { m.erase("created_by"); }},
      {"name has a control character", [](json& m) { m["name"] = "a\nb"; }},
      {"change of direction", [](json& m) { m["name"] = "a\u202Eb"; }},
      {"down_residual_1 is 3, expected a divisor of backbone.downscale, 4",
       [](json& m) { m["backbone"]["down_residuals"][1]["stride"] = 3; }},
      {"files.palette.json.sha256 is \"00\"",
       [](json& m) { m["files"]["palette.json"]["sha256"] = "00"; }},
      {"preview_decoder is empty", [](json& m) { m["autoencoder"]["preview_decoder"] = ""; }},
      {"segmenter is empty", [](json& m) { m["segmenter"] = ""; }},
      {"names the graph \"eyes\"", [](json& m) { m["segmenter"] = "eyes"; }},
      {"graph controlnet_segmentation has the input \"timestep\", which its role doesn't know",
       [](json& m) { m["segmenter"] = "controlnet_segmentation"; }},
      {"graph text_encoder has the input \"input_ids\" (int64, 2 dimensions), expected",
       [](json& m) { m["segmenter"] = "text_encoder"; }},
      {"shape[1] should be text",
       [](json& m) { m["graphs"]["backbone"]["inputs"][0]["shape"][1] = true; }}};
  for (const auto& [expected, change] : cases) {
    const auto message = refusal_after(change);
    EXPECT_NE(message.find(expected), std::string::npos) << expected << ": " << message;
  }
}

// Protects old bundles (one spacing, DDIM ends at timestep 0) and new ones (one for each sampler).
TEST(Manifest, SpacingsGoBySampler) {
  auto document = valid_manifest();
  const auto old = Manifest::parse(document.dump()).schedule;
  EXPECT_EQ(old.ddim_spacing, fgdm::TimestepSpacing::leading);
  EXPECT_EQ(old.dpmsolver_spacing, fgdm::TimestepSpacing::leading);
  EXPECT_FALSE(old.set_alpha_to_one);
  document["scheduler"]["timestep_spacing"] = {{"ddim", "trailing"}, {"dpmsolver++", "linspace"}};
  document["scheduler"]["set_alpha_to_one"] = true;
  const auto schedule = Manifest::parse(document.dump()).schedule;
  EXPECT_EQ(schedule.ddim_spacing, fgdm::TimestepSpacing::trailing);
  EXPECT_EQ(schedule.dpmsolver_spacing, fgdm::TimestepSpacing::linspace);
  EXPECT_TRUE(schedule.set_alpha_to_one);
  EXPECT_EQ(schedule.spacing(fgdm::SamplerKind::unipc), fgdm::TimestepSpacing::linspace);
  EXPECT_EQ(schedule.spacing(fgdm::SamplerKind::lcm), fgdm::TimestepSpacing::trailing);
  EXPECT_EQ(schedule.prediction, fgdm::Prediction::epsilon);
  document["factors"][0]["timestep_spacing"] = "trailing";
  document["scheduler"]["prediction_type"] = "v_prediction";
  EXPECT_EQ(Manifest::parse(document.dump()).schedule.prediction, fgdm::Prediction::v);
  const auto factors = Manifest::parse(document.dump()).factors;
  EXPECT_EQ(factors[0].timestep_spacing, fgdm::TimestepSpacing::trailing);
  EXPECT_EQ(factors[1].timestep_spacing, std::nullopt);
}

TEST(Manifest, FilesStayInsideTheBundle) {
  const json file{{"size", 1}, {"sha256", std::string(64, '0')}};
  for (const char* path : {"../secret", "/etc/passwd", "a/../../b", "./a", "a//b", "a/", "."}) {
    const auto message = refusal_after([&](json& m) { m["files"][path] = file; });
    EXPECT_NE(message.find("inside the bundle"), std::string::npos) << path << ": " << message;
  }
  for (const char* path : {"", "a\nb"})
    EXPECT_NE(refusal_after([&](json& m) { m["files"][path] = file; }), "") << path;
  EXPECT_EQ(refusal_after([&](json& m) { m["files"]["a..b/..c"] = file; }), "");
}

// What no request could run is known when the bundle opens, and what could is said.
TEST(Manifest, ChainsThatCannotRun) {
  const std::vector<std::pair<std::string, std::function<void(json & factors)>>> cases{
      {"needs the latents of \"image\"",  // a later one
       [](json& f) { f[0]["conditionings"][0]["latents"] = {"image"}; }},
      {"sees no latents", [](json& f) { f[0]["conditionings"][0]["latents"] = json::array(); }},
      {"sees the latents of segmentation twice",
       [](json& f) { f[0]["conditionings"][0]["latents"] = {"segmentation", "segmentation"}; }},
      {"should end with one of kind \"image\"", [](json& f) { std::swap(f[0], f[1]); }},
      {"should end with one of kind \"image\"", [](json& f) { f.clear(); }},
      {"only the last factor may be of kind \"image\"", [](json& f) { f.insert(f.begin(), f[1]); }},
      {"two factors are called segmentation", [](json& f) { f.insert(f.begin(), f[0]); }},
      {"needs the map of \"segmentation\"",  // its own
       [](json& f) { f[0]["conditionings"] = f[1]["conditionings"]; }},
      {"needs the map of \"nobody\"", [](json& f) {
         f[0]["conditionings"] = f[1]["conditionings"];
         f[0]["conditionings"][0]["condition"] = "nobody";
       }}};
  for (const auto& [expected, change] : cases) {
    const auto message = refusal_after([&, made = change](json& m) { made(m["factors"]); });
    EXPECT_NE(message.find(expected), std::string::npos) << expected << ": " << message;
  }
}

// A map of every kind is made by an adapter that sees its own latent or earlier ones, together.
TEST(Manifest, FactorsThatMakePictures) {
  auto document = valid_manifest();
  EXPECT_TRUE(Manifest::parse(document.dump()).factors[0].makes_labels());
  auto& factors = document["factors"];
  auto depth = factors[0];
  depth["name"] = depth["output"] = "depth";
  depth.erase("palette");
  depth.erase("min_area");
  depth["conditionings"][0]["graph"] = "adapter_depth";
  depth["conditionings"][0]["latents"] = {"depth", "segmentation"};
  factors.insert(factors.begin() + 1, depth);
  auto& graphs = document["graphs"];
  graphs["adapter_depth"] = graphs["adapter_segmentation"];
  auto& channels = graphs["adapter_depth"]["inputs"][0]["shape"][1];
  channels = 8;
  const auto manifest = Manifest::parse(document.dump());
  EXPECT_EQ(manifest.factors[0].conditionings[0].latents, std::vector<std::string>{"segmentation"});
  EXPECT_EQ(manifest.factors[1].output, fgdm::FactorOutput::depth);
  EXPECT_FALSE(manifest.factors[1].makes_labels());
  EXPECT_EQ(manifest.factors[1].conditionings[0].latents,
            (std::vector<std::string>{"depth", "segmentation"}));
  channels = 4;
  EXPECT_NE(refusal(document.dump())
                .find("takes latents of 4 channels, but those of 2 factors "
                      "have 8"),
            std::string::npos);
  channels = 8;
  factors[1]["output"] = "sound";
  EXPECT_NE(refusal(document.dump())
                .find("factors[1].output is \"sound\", expected \"labels\", "
                      "\"depth\", \"normal\", \"sketch\" or \"pose\""),
            std::string::npos);
  factors[1]["output"] = "sketch";
  EXPECT_FALSE(Manifest::parse(document.dump()).factors[1].black_lines);
  factors[1]["lines"] = "black";
  EXPECT_TRUE(Manifest::parse(document.dump()).factors[1].black_lines);
  factors[1]["lines"] = "grey";
  EXPECT_NE(refusal(document.dump()).find("lines is \"grey\", expected \"white\" or \"black\""),
            std::string::npos);
}

// A backbone of a factor's own takes the latents that it sees, and residuals where it has inputs.
TEST(Manifest, FactorsWithABackboneOfTheirOwn) {
  auto document = valid_manifest();
  auto& factors = document["factors"];
  auto depth = factors[0];
  depth["name"] = depth["output"] = "depth";
  depth.erase("palette");
  depth.erase("min_area");
  depth["conditionings"] = json::array();
  depth["backbone"] = "backbone_depth";
  depth["latents"] = {"segmentation", "depth"};
  factors.insert(factors.begin() + 1, depth);
  auto own = document["graphs"]["backbone"];
  auto& inputs = own["inputs"];
  inputs.erase(inputs.begin() + 6, inputs.end());  // of the residuals, the adapter's stays
  inputs[0]["shape"][1] = 8;
  document["graphs"]["backbone_depth"] = own;
  const auto manifest = Manifest::parse(document.dump());
  EXPECT_EQ(manifest.factors[0].latents, std::vector<std::string>{"segmentation"});
  EXPECT_EQ(manifest.backbone_of(manifest.factors[0]), "backbone");
  EXPECT_EQ(manifest.factors[1].latents, (std::vector<std::string>{"segmentation", "depth"}));
  EXPECT_EQ(manifest.backbone_of(manifest.factors[1]), "backbone_depth");
  EXPECT_EQ(manifest.backbones(), (std::vector<std::string>{"backbone", "backbone_depth"}));
  const auto adapter = json::array({{{"kind", "adapter"}, {"graph", "adapter_segmentation"}}});
  auto adapted = document;
  adapted["factors"][1]["conditionings"] = adapter;
  EXPECT_EQ(refusal(adapted.dump()), "");

  using Change = std::function<void(json & manifest, json & factor, json & graph)>;
  const std::vector<std::pair<std::string, Change>> cases{
      {"it names the graph \"nobody\" but describes none",
       [](auto&, auto& f, auto&) { f["backbone"] = "nobody"; }},
      {"factors[1].backbone is empty", [](auto&, auto& f, auto&) { f["backbone"] = ""; }},
      {"factors[1].backbone should be text", [](auto&, auto& f, auto&) { f["backbone"] = 5; }},
      {"factors[1] has latents, but no backbone of its own",
       [](auto&, auto& f, auto&) { f.erase("backbone"); }},
      {"needs the latents of \"image\", which is no earlier factor",
       [](auto&, auto& f, auto&) { f["latents"] = {"image", "depth"}; }},
      {"needs the latents of \"depth\", which is no earlier factor",  // a circle
       [](auto& m, auto&, auto&) {
         m["factors"][0]["conditionings"] = json::array();
         m["factors"][0]["backbone"] = "backbone_depth";
         m["factors"][0]["latents"] = {"depth", "segmentation"};
       }},
      {"the backbone backbone_depth of factor depth sees the latents of depth twice",
       [](auto&, auto& f, auto&) { f["latents"] = {"depth", "depth"}; }},
      {"backbone_depth of factor depth sees no latents",
       [](auto&, auto& f, auto&) { f["latents"] = json::array(); }},
      {"doesn't see the factor's own latent, expected \"depth\" among its latents",
       [](auto&, auto& f, auto&) { f["latents"] = {"segmentation"}; }},
      {"backbone_depth takes latents of 8 channels, but those of 1 factor have 4",
       [](auto&, auto& f, auto&) { f.erase("latents"); }},
      {"backbone_depth takes latents of 4 channels, but those of 2 factors have 8",
       [](auto&, auto&, auto& g) { g["inputs"][0]["shape"][1] = 4; }},
      {"\"sample\" without a fixed number of channels",
       [](auto&, auto&, auto& g) { g["inputs"][0]["shape"][1] = "channels"; }},
      {"takes latents of 4 channels",  // the shared one, named as if it were its own
       [](auto&, auto& f, auto&) { f["backbone"] = "backbone"; }},
      {"no input \"timestep\"", [](auto&, auto&, auto& g) { g["inputs"].erase(1); }},
      {"has the input \"more\"", [](auto&, auto&, auto& g) { g["inputs"][5]["name"] = "more"; }},
      {"no output \"noise_pred\"",
       [](auto&, auto&, auto& g) { g["outputs"][0]["name"] = "noise"; }},
      {"has the output \"down_residual_0\", which is no residual of backbone_depth, the backbone "
       "of "
       "factor depth; a backbone without such an input takes no conditioning network",
       [](auto& m, auto& f, auto&) { f["conditionings"] = m["factors"][2]["conditionings"]; }},
      {"has the output \"intrablock_residual_0\", which is no residual of backbone_depth",
       [&](auto&, auto& f, auto& g) {
         f["conditionings"] = adapter;
         g["inputs"].erase(5);
       }},
      {"graph adapter_segmentation has the output \"intrablock_residual_0\" (float32",
       [&](auto&, auto& f, auto& g) {
         f["conditionings"] = adapter;
         g["inputs"][5]["dtype"] = "float16";
       }}};
  for (const auto& [expected, change] : cases) {
    auto changed = document;
    change(changed, changed["factors"][1], changed["graphs"]["backbone_depth"]);
    const auto message = refusal(changed.dump());
    EXPECT_NE(message.find(expected), std::string::npos) << expected << ": " << message;
  }
}

// The shared backbone's outer level as a graph of its own, and the factors that cache by it.
TEST(Manifest, ShallowBackbones) {
  auto document = valid_manifest();
  EXPECT_TRUE(Manifest::parse(document.dump()).shallow.empty());
  auto& graphs = document["graphs"];
  document["backbone"]["shallow"] = {
      {{"graph", "backbone_shallow_1"}, {"channels", 48}, {"stride", 2}}};
  json features = graphs["backbone"]["inputs"][6];
  features["name"] = "deep_features_1";
  auto shallow = graphs["backbone"];
  shallow["inputs"].erase(shallow["inputs"].begin() + 7, shallow["inputs"].end());
  shallow["inputs"].push_back(features);
  graphs["backbone_shallow_1"] = shallow;
  graphs["backbone"]["outputs"].push_back(features);
  document["factors"][1]["cache_interval"] = 3;
  const auto manifest = Manifest::parse(document.dump());
  ASSERT_EQ(manifest.shallow.size(), 1U);
  EXPECT_EQ(manifest.shallow[0].graph, "backbone_shallow_1");
  EXPECT_EQ(manifest.shallow[0].features.channels, 48);
  EXPECT_EQ(manifest.shallow[0].features.stride, 2);
  EXPECT_EQ(manifest.factors[0].cache.interval, 1);
  EXPECT_EQ(manifest.factors[1].cache.interval, 3);
  EXPECT_EQ(manifest.factors[1].cache.level, 1);
  EXPECT_EQ(manifest.backbones(), (std::vector<std::string>{"backbone", "backbone_shallow_1"}));

  using Change = std::function<void(json & manifest, json & factor, json & graphs)>;
  const std::vector<std::pair<std::string, Change>> cases{
      {"factors[1].cache_interval is 0, expected 1 to 1000",
       [](auto&, auto& f, auto&) { f["cache_interval"] = 0; }},
      {"factor image has a cache_interval of 3, but this bundle has shallow backbones of 1 to 1",
       [](auto&, auto& f, auto&) { f["cache_level"] = 2; }},
      {"factor image has a cache_interval of 3, but this bundle has no shallow backbones",
       [](auto& m, auto&, auto&) { m["backbone"].erase("shallow"); }},
      {"the stride of deep_features_1 is 3",
       [](auto& m, auto&, auto&) { m["backbone"]["shallow"][0]["stride"] = 3; }},
      {"names the graph \"nobody\"",
       [](auto& m, auto&, auto&) { m["backbone"]["shallow"][0]["graph"] = "nobody"; }},
      {"graph backbone has no output \"deep_features_1\"",
       [](auto&, auto&, auto& g) { g["backbone"]["outputs"].erase(1); }},
      {"graph backbone_shallow_1 has no input \"deep_features_1\"",
       [](auto&, auto&, auto& g) { g["backbone_shallow_1"]["inputs"].erase(7); }},
      {"graph backbone_shallow_1 has the input \"deep_features_1\" (float16",
       [](auto&, auto&, auto& g) { g["backbone_shallow_1"]["inputs"][7]["dtype"] = "float16"; }},
      {"graph backbone_shallow_1 has the input \"down_residual_0\" (float16",
       [](auto&, auto&, auto& g) { g["backbone_shallow_1"]["inputs"][6]["dtype"] = "float16"; }},
      {"graph backbone_shallow_1 has the input \"more\"",
       [](auto&, auto&, auto& g) { g["backbone_shallow_1"]["inputs"][6]["name"] = "more"; }}};
  for (const auto& [expected, change] : cases) {
    auto changed = document;
    change(changed, changed["factors"][1], changed["graphs"]);
    const auto message = refusal(changed.dump());
    EXPECT_NE(message.find(expected), std::string::npos) << expected << ": " << message;
  }
}

// A chain may have an image only, which adapters may paint too.
TEST(Manifest, TheImageAlone) {
  auto document = valid_manifest();
  document["factors"].erase(0);
  document["factors"][0]["conditionings"] = json::array();
  EXPECT_EQ(Manifest::parse(document.dump()).factors.size(), 1U);
  document["factors"][0]["conditionings"] = {
      {{"kind", "adapter"}, {"graph", "adapter_segmentation"}}};
  EXPECT_EQ(Manifest::parse(document.dump()).factors[0].conditionings[0].latents,
            std::vector<std::string>{"image"});
}

TEST(Manifest, EveryTruncationIsABundleError) {
  const auto text = valid_manifest().dump();
  for (std::size_t length = 0; length < text.size(); length += 7)
    EXPECT_NE(refusal(text.substr(0, length)), "") << length;
}

TEST(Manifest, DeepNestingIsRefusedAndNotFollowed) {
  EXPECT_NE(refusal(std::string(200'000, '[')), "");
}

// Protects runs from graphs that don't fit their role: what is missed there is a crash.
TEST(Manifest, GraphsThatDoNotFitTheirRole) {
  using Change = std::function<void(json & graphs)>;
  const std::vector<std::pair<std::string, Change>> changes{
      {"no output", [](auto& g) { g["text_encoder"]["outputs"] = json::array(); }},
      {"no hint", [](auto& g) { g["controlnet_hint"]["outputs"] = json::array(); }},
      {"no residuals", [](auto& g) { g["adapter_segmentation"]["outputs"] = json::array(); }},
      {"renamed residual",
       [](auto& g) { g["adapter_segmentation"]["outputs"][0]["name"] = "nonsense"; }},
      {"renamed noise", [](auto& g) { g["backbone"]["outputs"][0]["name"] = "nonsense"; }},
      {"a residual twice",
       [](auto& g) {
         auto& outputs = g["controlnet_segmentation"]["outputs"];
         outputs[0] = json(outputs[1]);
       }},
      {"lost residual input", [](auto& g) { g["backbone"]["inputs"].erase(5); }},
      {"unknown input",
       [](auto& g) { g["vae_decoder"]["inputs"].push_back(g["backbone"]["inputs"][0]); }},
      {"rank",
       [](auto& g) { g["vae_decoder"]["outputs"][0]["shape"] = json::array({"batch", 3}); }},
      {"type", [](auto& g) { g["text_encoder"]["inputs"][0]["dtype"] = "float32"; }},
      {"mask", [](auto& g) { g["backbone"]["inputs"][4]["dtype"] = "uint8"; }},
      {"attention maps without a stride", [](auto& g) { g["backbone"].erase("attention_stride"); }},
      {"an odd stride", [](auto& g) { g["backbone"]["attention_stride"] = 3; }},
      {"no attention maps", [](auto& g) { g["backbone"]["outputs"].erase(1); }},
      {"attention maps in halves",
       [](auto& g) { g["backbone"]["outputs"][1]["dtype"] = "float16"; }},
      {"hint's channels",
       [](auto& g) { g["controlnet_hint"]["outputs"][0]["shape"][1] = "channels"; }}};
  for (const auto& [name, change] : changes) {
    SCOPED_TRACE(name);
    auto manifest = valid_manifest();
    auto& backbone = manifest["graphs"]["backbone"];
    backbone["attention_stride"] = 2;
    backbone["outputs"].push_back({{"name", "attention_maps"},
                                   {"dtype", "float32"},
                                   {"shape", {"batch", 16, "height_div_2", "width_div_2"}}});
    EXPECT_EQ(Manifest::parse(manifest.dump()).graph("backbone").attention_stride, 2);
    change(manifest["graphs"]);
    EXPECT_THROW(Manifest::parse(manifest.dump()), BundleError);
  }
}

}  // namespace
