#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace fgdm::test {

// A complete, consistent manifest of a small bundle, to be broken in one place by each test.
inline nlohmann::json valid_manifest() {
  using nlohmann::json;
  const auto file = [](int size) { return json{{"size", size}, {"sha256", std::string(64, '0')}}; };
  json manifest = json::parse(R"({
    "schema": 2, "name": "tiny", "created_by": "a test", "precision": "fp32", "weights": "fp16",
    "text_encoder": {"graph": "text_encoder", "tokenizer": "tokenizer", "max_length": 16,
                     "hidden_size": 8},
    "autoencoder": {"decoder": "vae_decoder", "encoder": "vae_encoder", "latent_channels": 4,
                    "downscale": 4},
    "backbone": {"graph": "backbone", "downscale": 4,
                 "intrablock_residuals": [{"channels": 32, "stride": 1}],
                 "down_residuals": [{"channels": 32, "stride": 1}, {"channels": 32, "stride": 2}],
                 "mid_residual": {"channels": 64, "stride": 4}},
    "scheduler": {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
                  "beta_schedule": "scaled_linear", "prediction_type": "epsilon",
                  "timestep_spacing": "leading", "steps_offset": 1},
    "factors": [
      {"name": "segmentation", "kind": "condition",
       "conditionings": [{"kind": "adapter", "graph": "adapter_segmentation"}], "height": 64, "width": 64, "num_inference_steps": 10,
       "guidance": "cfg", "guidance_scale": 4.0, "prompt_prefix": "a map of ", "min_area": 0.01, "palette": "palette.json"},
      {"name": "image", "kind": "image",
       "conditionings": [{"kind": "controlnet", "graph": "controlnet_segmentation",
                          "hint_graph": "controlnet_hint", "condition": "segmentation",
                          "hint_palette": null, "scale": 0.5}], "height": 128, "width": 128,
       "num_inference_steps": 20, "sampler": "dpmsolver++", "guidance": "segfree", "guidance_scale": 4.0,
       "segfree_guidance_scale": 3.5, "segfree_scale": 10.0, "segfree_start": 0.5}],
    "graphs": {}, "files": {}})");
  // By name: the other tensors are float32 with four dimensions.
  const std::map<std::string, json> others{
      {"input_ids", {{"dtype", "int64"}, {"shape", {"batch", 16}}}},
      {"encoder_hidden_states", {{"dtype", "float32"}, {"shape", {"batch", 16, 8}}}},
      {"argmax_mask", {{"dtype", "bool"}, {"shape", {"batch", 16}}}},
      {"timestep", {{"dtype", "float32"}, {"shape", {"batch"}}}},
      {"attn_scale", {{"dtype", "float32"}, {"shape", {"batch"}}}},
      {"conditioning_scale", {{"dtype", "float32"}, {"shape", {"batch"}}}}};
  const auto tensors = [&](const std::vector<std::string>& names) {
    json all = json::array();
    for (const auto& name : names) {
      const auto found = others.find(name);
      json tensor = found != others.end()
                        ? found->second
                        : json{{"dtype", "float32"}, {"shape", {"batch", 4, "height", "width"}}};
      tensor["name"] = name;
      all.push_back(tensor);
    }
    return all;
  };
  const std::vector<std::string> own{"intrablock_residual_0"};
  const std::vector<std::string> control{"down_residual_0", "down_residual_1", "mid_residual"};
  std::vector<std::string> all_of_it{"sample", "timestep", "encoder_hidden_states", "attn_scale",
                                     "argmax_mask"};
  all_of_it.insert(all_of_it.end(), own.begin(), own.end());
  all_of_it.insert(all_of_it.end(), control.begin(), control.end());
  using Names = std::vector<std::string>;
  const std::map<std::string, std::pair<Names, Names>> graphs{
      {"text_encoder", {{"input_ids"}, {"encoder_hidden_states"}}},
      {"vae_decoder", {{"latents"}, {"image"}}},
      {"vae_encoder", {{"image"}, {"latents"}}},
      {"backbone", {all_of_it, {"noise_pred"}}},
      {"adapter_segmentation", {{"sample", "timestep"}, own}},
      {"controlnet_segmentation",
       {{"sample", "timestep", "encoder_hidden_states", "hint", "conditioning_scale"}, control}},
      {"controlnet_hint", {{"controlnet_cond"}, {"hint"}}}};
  for (const auto& [name, ports] : graphs) {
    const std::string path = name + ".onnx";
    manifest["graphs"][name] = {
        {"file", path}, {"inputs", tensors(ports.first)}, {"outputs", tensors(ports.second)}};
    manifest["files"][path] = file(100);
  }
  manifest["files"]["palette.json"] = file(10);
  return manifest;
}

}  // namespace fgdm::test
