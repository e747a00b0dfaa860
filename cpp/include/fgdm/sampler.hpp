#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fgdm {

// The noise schedule a model was trained with, in diffusers' names; the defaults are Stable
// Diffusion's.
struct NoiseSchedule {
  int num_train_timesteps = 1000;
  double beta_start = 0.00085;
  double beta_end = 0.012;
  std::string beta_schedule = "scaled_linear";  // or "linear"
  std::string timestep_spacing = "leading";     // or "trailing" or "linspace"
  int steps_offset = 1;                         // added to the timesteps of "leading" spacing
};

enum class SamplerKind {
  // DDIM with eta = 0 (Song et al., "Denoising Diffusion Implicit Models", equation 12), ending at
  // alphas_cumprod[0]: diffusers' DDIMScheduler(clip_sample=False, set_alpha_to_one=False).
  ddim,
  // DPM-Solver++(2M) (Lu et al., "DPM-Solver++", algorithm 2), ending at sigma = 0: diffusers'
  // DPMSolverMultistepScheduler(algorithm_type="dpmsolver++", solver_order=2).
  dpmsolver_multistep,
};

// The names that requests and manifests use: "ddim", "dpmsolver++".
std::string_view sampler_name(SamplerKind kind);
std::optional<SamplerKind> sampler_kind(std::string_view name);  // unset for any other name

// The products of (1 - beta_s) for s = 0..t: one value in (0, 1) per training timestep t.
// Throws BundleError if the schedule is not a valid one.
std::vector<double> alphas_cumprod(const NoiseSchedule& schedule);

// The training timesteps that a sampler visits, descending, one per step. They are diffusers', with
// one correction: "trailing" spacing has num_inference_steps entries where diffusers has one more,
// -1, for some numbers of steps.
// Throws RequestError if the schedule has no such sequence of distinct timesteps.
std::vector<int> timesteps(const NoiseSchedule& schedule, int num_inference_steps,
                           SamplerKind kind = SamplerKind::ddim);

// One sampler step as a linear map, the same for every element of a row:
//   x0     = x0_from_sample * x + x0_from_epsilon * epsilon
//   x_next = sample * x + epsilon * epsilon + x0 * x0 + history * (x0 of the step before)
struct StepCoefficients {
  float x0_from_sample;
  float x0_from_epsilon;
  float sample;
  float epsilon;
  float x0;
  float history;
};

// Takes one row through a step. All spans have the size of `sample` and don't overlap.
//   eps           predicted noise
//   sample        in: the latents at the step's timestep; out: at the next
//   predicted_x0  in: of the step before, not read where `history` is 0; out: of this step
// Throws RequestError if a size is wrong.
void advance(const StepCoefficients& step, std::span<const float> eps, std::span<float> sample,
             std::span<float> predicted_x0);

// The steps of one sampler over one schedule. It holds no state of a row, so that rows at different
// steps can share it; it never changes after construction and can be used from many threads.
class Sampler {
public:
  // Throws BundleError for the schedule and RequestError for the number of steps.
  Sampler(SamplerKind kind, const NoiseSchedule& schedule, int num_inference_steps);

  SamplerKind kind() const { return kind_; }
  std::span<const int> timesteps() const { return timesteps_; }

  // Throws RequestError unless 0 <= index < timesteps().size().
  const StepCoefficients& coefficients(int index) const;

private:
  SamplerKind kind_;
  std::vector<int> timesteps_;
  std::vector<StepCoefficients> coefficients_;
};

}  // namespace fgdm
