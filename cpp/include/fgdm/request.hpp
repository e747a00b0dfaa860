#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fgdm/api.h"
#include "fgdm/device_array.hpp"
#include "fgdm/guidance.hpp"
#include "fgdm/inversion.hpp"
#include "fgdm/pixels.hpp"
#include "fgdm/sampler.hpp"

namespace fgdm {

// The longest prompt that is accepted, in bytes. (A text encoder reads the first 77 tokens or so.)
inline constexpr std::size_t max_prompt_size = std::size_t{1} << 15;

// What a request says about one condition factor. Unset options take the request's own, and where
// it has none the bundle's.
struct FGDM_API FactorOptions {
  bool left_out = false;  // no map: networks that would see it see none (null condition)
  std::optional<std::string> prompt, negative_prompt;
  std::optional<std::vector<std::string>> objects;
  std::optional<int> candidates;  // 1 of a factor that makes pictures, which nothing measures
  std::optional<int> condition_steps;
  std::optional<SamplerKind> sampler;
  std::optional<TimestepSpacing> timestep_spacing;
  std::optional<int> cache_interval, cache_level;  // as the request's own
  std::optional<double> guidance_scale;
  std::optional<Interval> guidance_interval;
  std::optional<std::vector<int>> prune;
  std::optional<double> stop_at_recall, min_area;
  std::optional<int> wave;
  // A map of the factor's size that is taken as it is: RGB, or class indices where the factor makes
  // labels (255: unlabeled).
  Pixels map;
  // With a map: it is noised and sampled again, over this fraction of the steps, 0 to 1.
  std::optional<double> strength;
  std::vector<float> latents;               // (candidates, C, h, w) initial noise
  std::vector<std::int64_t> latents_shape;  // as Request::latents_shape
  DeviceArray latents_on_device;            // as Request::latents_on_device
};

// What the map is chosen by: the classes that it holds (FG-DM, section 4), or among maps that hold
// as many, all requirements that it meets.
enum class SelectBy { recall, compliance, callback };

// What a request asks for. Unset options take the bundle's defaults; names are diffusers' where
// diffusers has the thing.
struct FGDM_API Request {
  // UTF-8, at most max_prompt_size bytes. May be empty where nothing is painted by it: where the
  // image is edited, and where a picture is inverted.
  std::string prompt, negative_prompt;
  std::optional<std::vector<std::string>> objects;  // requested classes; unset: from the prompt
  int candidates = 10;                              // maps to sample, 1 to 1000
  std::optional<std::uint64_t> seed;                // unset: random, reported in the result
  std::optional<int> condition_steps;               // sampler steps of condition factors, 1 to 1000
  std::optional<int> num_inference_steps;           // sampler steps of the image, 1 to 1000
  std::optional<GuidanceKind> guidance;             // of the image factor
  std::optional<double> guidance_scale;             // of the image factor, 0 to 100; up to 1: none
  std::optional<double> condition_guidance_scale;   // of condition factors, likewise
  std::optional<double> segfree_scale;              // a, 0 to 1000
  std::optional<double> segfree_guidance_scale;     // 0 to 100
  std::optional<double> segfree_start;              // fraction of the steps, 0 to 1
  // One for each network that sees a control image, or one for all, 0 to 10; empty: the bundle's.
  std::vector<double> controlnet_conditioning_scale;
  // Weights of the bundle's LoRAs by name, -100 to 100; 0 for those that aren't named. Each changes
  // the factors that the bundle says.
  std::map<std::string, double> loras;
  std::optional<SamplerKind> sampler, condition_sampler;  // of the image; of condition factors
  // Which timesteps they visit; unset: the factor's, else the noise schedule's for the sampler.
  std::optional<TimestepSpacing> timestep_spacing, condition_timestep_spacing;
  std::optional<double> min_area;  // of a map, for a class to count as found, 0 to 1
  // Requirements as JSON (requirements.hpp), in place of those that are read from the prompt. Not
  // together with `objects`.
  std::optional<std::string> requirements;
  bool articles_count = false;  // "a dog" in a prompt is exactly one
  int instance_opening = 0;     // CheckOptions::opening, in pixels of the map
  // Classes that must not appear on a map, as JSON (parse_filters in compliance.hpp); empty: none.
  // A map that holds them is refused; where all are refused, the request fails with RequestError
  // before an image is sampled.
  std::string forbid;
  std::optional<int> height, width;  // of the image in pixels; maps scale along
  // (1, C, h, w) initial noise of the image, (candidates, C, h, w) of joint ones; empty: from seed.
  std::vector<float> latents;
  std::vector<float> condition_latents;  // (candidates, C, h, w) initial noise of the maps
  // What shapes the caller's arrays have, which others than the above are refused; empty: unknown.
  std::vector<std::int64_t> latents_shape, condition_latents_shape;
  std::map<std::string, FactorOptions> factors;  // by name, of condition factors
  // Factors that are sampled together, each step of one after that of those before it (FG-DM,
  // equations 4 to 6); empty: every factor is sampled to its end before the next begins. The image
  // may be among them: then every candidate has an image of its own, and the chosen candidate's is
  // the result.
  std::vector<std::string> joint;
  // A network of a joint factor that paints from the map of another sees what the map is about to
  // become, its decoded predicted x0, and sees it anew every so many steps, 1 to 1000; unset: 4.
  std::optional<int> joint_refresh;
  // A picture of the image's size, RGB, to begin with instead of noise: noised, and sampled again
  // over the fraction `strength` of the steps, 0 to 1 (unset: 0.8; with a mask 1).
  Pixels image;
  std::optional<double> strength;
  // (height, width), of `image`: what isn't 0 is painted anew, the other pixels stay as they are.
  Pixels mask;
  // What is taken back into noise, or edited from there (docs/editing.md).
  std::optional<Editing> editing;
  // Control images that no factor of the bundle makes: RGB of the image's size, by condition.
  std::map<std::string, Pixels> control_images;

  // In place of the fields of these names: arrays that lie where Engine::exchange() says, uint8
  // (height, width, 3) or float32. The networks read them there. Nobody may write to them before
  // the request has ended, which lets go of them. What is inverted is given on the host, and an
  // image with a mask, or latents with an image, are read by the host.
  DeviceArray image_on_device, latents_on_device, condition_latents_on_device;
  std::map<std::string, DeviceArray> control_images_on_device;
  // Leaves the image, and the latents that it was decoded from, where the decoder made it:
  // Result::image_on_device in place of Result::image.
  bool keep_on_device = false;

  // Map steps after which the worse half of the candidates is dropped, by the recall of their
  // predicted x0; ascending, from 1 to condition_steps - 1.
  std::vector<int> prune;
  // The recall with which a candidate has won, so that no other needs to be finished; 0: every
  // candidate is sampled to its end. Previews are looked at after the steps of `prune` (without it,
  // after 4, 6 and 8 tenths of the steps): one that has won is finished alone, and if its map does
  // not hold what the preview promised, the others go on. So, without `prune`, the kept map's
  // recall reaches this number whenever it would if all were finished.
  std::optional<double> stop_at_recall;
  // callback: by the SelectCallback that is submitted with the request. Every candidate is sampled
  // to its end, unless `prune` drops it.
  SelectBy select = SelectBy::recall;
  // Likewise, the compliance, of requests that choose by it; unset: what stop_at_recall would be.
  std::optional<double> stop_at_compliance;
  // Candidates sampled at a time, until one has won or there are `candidates` of them; 0: all at
  // once. Needs one of the two.
  std::optional<int> wave;
  // DeepCache (Ma et al., CVPR 2024) for the image: of so many steps, 1 to 1000, the first goes
  // through the whole backbone; the others through its outer levels alone, 1 or 2 of them, with the
  // features that it made of the levels below. 1: every step goes through the whole.
  std::optional<int> cache_interval, cache_level;
  // The fractions of the steps, from the first and up to the second, in which there is guidance;
  // other steps run the positive row alone.
  Interval guidance_interval, condition_guidance_interval;

  int priority = 0;                // a request with a larger one goes first, -1000 to 1000
  std::optional<double> deadline;  // seconds from submit() on; then it fails with DeadlineError
};

// A sampler step that just ended.
struct FGDM_API StepInfo {
  const std::string& factor;
  int step, num_steps;              // from 0; of the factor
  double timestep;                  // of training, that the step started from
  std::span<const int> candidates;  // which of them took this step, as indices
  int channels, height, width;
  // (candidates, channels, height, width), valid during the call.
  std::span<const float> predicted_x0;
  // The RGB picture of a candidate's predicted x0, by the bundle's preview decoder if it has one,
  // else by its full decoder; valid during the call. Throws RequestError for a candidate that did
  // not take this step.
  std::function<Pixels(int candidate)> preview;
};

// Sees every step; true stops the request with CancelledError. Called on the engine's thread, where
// other requests wait for it.
using StepCallback = std::function<bool(const StepInfo&)>;

}  // namespace fgdm
