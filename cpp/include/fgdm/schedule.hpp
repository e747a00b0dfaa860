#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fgdm/api.h"

namespace fgdm {

// The samplers; docs/samplers.md compares them. Each is written out in sampler_steps.cpp.
enum class SamplerKind {
  // DDIM with eta = 0 (Song et al., "Denoising Diffusion Implicit Models", equation 12): diffusers'
  // DDIMScheduler(clip_sample=False).
  ddim,
  // DPM-Solver++(2M) (Lu et al., "DPM-Solver++", algorithm 2), ending at sigma = 0: diffusers'
  // DPMSolverMultistepScheduler(algorithm_type="dpmsolver++", solver_order=2).
  dpmsolver_multistep,
  // SDE-DPM-Solver++(2M) (the same paper, section 5): the same with
  // algorithm_type="sde-dpmsolver++".
  dpmsolver_sde,
  // Euler's method (Karras et al., "Elucidating the Design Space of Diffusion-Based Generative
  // Models", algorithm 2 without churn): diffusers' EulerDiscreteScheduler.
  euler,
  // Euler's method with ancestral noise: diffusers' EulerAncestralDiscreteScheduler.
  euler_ancestral,
  // UniPC-2 with B(h) = e^h - 1 (Zhao et al., "UniPC", algorithms 5 to 8): diffusers'
  // UniPCMultistepScheduler.
  unipc,
  // Multistep sampling of a consistency model (Luo et al., "Latent Consistency Models", algorithm
  // 3): diffusers' LCMScheduler.
  lcm,
  // Strategic stochastic sampling with gamma = 0.3 (Zheng et al., "Trajectory Consistency
  // Distillation", algorithm 4): diffusers' TCDScheduler.
  tcd,
};

// The names that requests and manifests use: "ddim", "dpmsolver++", "dpmsolver++_sde", "euler",
// "euler_ancestral", "unipc", "lcm", "tcd"; "" for what is no enumerator.
FGDM_API std::string_view sampler_name(SamplerKind kind);
// Unset for any other name.
FGDM_API std::optional<SamplerKind> sampler_kind(std::string_view name);

// Where a sampler takes its steps. The first three are training timesteps (Lin et al., "Common
// Diffusion Noise Schedules and Sample Steps are Flawed", table 2). The others are noise levels
// from the largest of training to the smallest, whose sigma / alpha is spaced as Karras et al. do
// (equation 5, rho = 7), or evenly in its logarithm.
enum class TimestepSpacing { leading, trailing, linspace, karras, exponential };

// The names that requests and manifests use, as above; "" for what is no enumerator.
FGDM_API std::string_view spacing_name(TimestepSpacing spacing);
// Unset for any other name.
FGDM_API std::optional<TimestepSpacing> timestep_spacing(std::string_view name);

// The names as messages list them: `"leading", "trailing", ... or "exponential"`.
FGDM_API std::string sampler_names();
FGDM_API std::string spacing_names();

// What a model's output is: the noise epsilon, or v = alpha epsilon - sigma x0 (Salimans and Ho,
// "Progressive Distillation for Fast Sampling of Diffusion Models", section 4).
enum class Prediction { epsilon, v };

// The noise schedule a model was trained with, in diffusers' names; the defaults are Stable
// Diffusion's.
struct FGDM_API NoiseSchedule {
  int num_train_timesteps = 1000;
  double beta_start = 0.00085;
  double beta_end = 0.012;
  std::string beta_schedule = "scaled_linear";  // or "linear"; not read where trained_betas are
  // One for each training timestep, in place of the three fields above; empty = none. The last may
  // be 1, for a schedule that ends in pure noise ("zero terminal SNR").
  std::vector<double> trained_betas;
  TimestepSpacing ddim_spacing = TimestepSpacing::leading;
  TimestepSpacing dpmsolver_spacing = TimestepSpacing::leading;  // and of all but LCM's and TCD's
  int steps_offset = 1;           // added to the timesteps of "leading" spacing
  bool set_alpha_to_one = false;  // DDIM ends at alpha_cumprod = 1, else at that of timestep 0
  Prediction prediction = Prediction::epsilon;

  // Where nobody says another. Models for LCM and TCD are distilled on "trailing" timesteps.
  TimestepSpacing spacing(SamplerKind kind) const;

  bool ends_in_noise() const { return !trained_betas.empty() && trained_betas.back() == 1.0; }
};

// The products of (1 - beta_s) for s = 0..t: one value in (0, 1) per training timestep t, the last
// of which may be 0. Throws BundleError if the schedule is not a valid one.
FGDM_API std::vector<double> alphas_cumprod(const NoiseSchedule& schedule);

// A point of the diffusion process: x = alpha * x0 + sigma * epsilon.
struct FGDM_API NoiseLevel {
  double alpha;
  double sigma;
};

// Where a step begins: what the model is told, and how noisy the latents are. Timesteps are whole
// numbers, except for Euler's samplers.
struct FGDM_API StepStart {
  double timestep;
  NoiseLevel level;
};

// Whether a sampler can go by a spacing: those of timesteps have none of noise levels.
FGDM_API bool has_spacing(SamplerKind kind, TimestepSpacing spacing);

// The beginnings of a sampler's steps, from the noisiest on. They are diffusers' with these
// exceptions:
// - "trailing" spacing has num_inference_steps entries where diffusers has one more, -1, for some
//   numbers of steps;
// - numbers of steps with which "leading" spacing would leave more than the noisiest quarter of
//   the schedule out (334 to 374 and 501 to 749 of 1000) are refused;
// - what diffusers lacks (docs/samplers.md).
// `spacing`: unset, the schedule's for that sampler.
// Throws RequestError, in the name of the option `asked`, if the sampler has no such steps.
FGDM_API std::vector<StepStart> step_starts(const NoiseSchedule& schedule, int num_inference_steps,
                                            SamplerKind kind = SamplerKind::ddim,
                                            std::optional<TimestepSpacing> spacing = std::nullopt,
                                            std::string_view asked = "num_inference_steps");

// Their timesteps alone.
FGDM_API std::vector<double> timesteps(const NoiseSchedule& schedule, int num_inference_steps,
                                       SamplerKind kind = SamplerKind::ddim,
                                       std::optional<TimestepSpacing> spacing = std::nullopt,
                                       std::string_view asked = "num_inference_steps");

// What is known to be bad about so many steps: that they begin far from where the noise is that
// they are given. "" for a sound combination.
FGDM_API std::string known_weakness(const NoiseSchedule& schedule, int num_inference_steps,
                                    SamplerKind kind, TimestepSpacing spacing);

}  // namespace fgdm
