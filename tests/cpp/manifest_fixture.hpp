#pragma once

#include <nlohmann/json.hpp>

namespace fgdm::test {

// A complete, consistent manifest of a small bundle, to be broken in one place by each test.
inline nlohmann::json valid_manifest() {
  using nlohmann::json;
  const auto file = [](int size) { return json{{"size", size}, {"sha256", std::string(64, '0')}}; };
  json manifest = json::parse(R"({
    "schema": 2, "name": "tiny", "precision": "fp32", "weights": "fp16",
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
  for (const char* name : {"text_encoder", "vae_decoder", "vae_encoder", "backbone",
                           "adapter_segmentation", "controlnet_segmentation", "controlnet_hint"}) {
    const std::string path = std::string(name) + ".onnx";
    manifest["graphs"][name] = {
        {"file", path},
        {"inputs", json::array({{{"name", "sample"},
                                 {"dtype", "float32"},
                                 {"shape", {"batch", 4, "height", "width"}}}})},
        {"outputs",
         json::array({{{"name", "out"}, {"dtype", "float32"}, {"shape", {"batch", 4}}}})}};
    manifest["files"][path] = file(100);
  }
  manifest["files"]["palette.json"] = file(10);
  return manifest;
}

}  // namespace fgdm::test
