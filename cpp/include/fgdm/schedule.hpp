#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fgdm {

enum class SamplerKind {
  // DDIM with eta = 0 (Song et al., "Denoising Diffusion Implicit Models", equation 12): diffusers'
  // DDIMScheduler(clip_sample=False).
  ddim,
  // DPM-Solver++(2M) (Lu et al., "DPM-Solver++", algorithm 2), ending at sigma = 0: diffusers'
  // DPMSolverMultistepScheduler(algorithm_type="dpmsolver++", solver_order=2).
  dpmsolver_multistep,
};

// The names that requests and manifests use: "ddim", "dpmsolver++"; "" for what is no enumerator.
std::string_view sampler_name(SamplerKind kind);
std::optional<SamplerKind> sampler_kind(std::string_view name);  // unset for any other name

// Which training timesteps a sampler visits (Lin et al., "Common Diffusion Noise Schedules and
// Sample Steps are Flawed", table 2).
enum class TimestepSpacing { leading, trailing, linspace };

// The names that requests and manifests use: "leading", "trailing", "linspace"; "" for what is no
// enumerator.
std::string_view spacing_name(TimestepSpacing spacing);
std::optional<TimestepSpacing> timestep_spacing(std::string_view name);  // unset for any other name

// The names as messages list them: `"leading", "trailing" or "linspace"`.
std::string sampler_names();
std::string spacing_names();

// The noise schedule a model was trained with, in diffusers' names; the defaults are Stable
// Diffusion's.
struct NoiseSchedule {
  int num_train_timesteps = 1000;
  double beta_start = 0.00085;
  double beta_end = 0.012;
  std::string beta_schedule = "scaled_linear";  // or "linear"; not read where trained_betas are
  // One for each training timestep, in place of the three fields above; empty = none. The last may
  // be 1, for a schedule that ends in pure noise ("zero terminal SNR").
  std::vector<double> trained_betas;
  TimestepSpacing ddim_spacing = TimestepSpacing::leading;
  TimestepSpacing dpmsolver_spacing = TimestepSpacing::leading;
  int steps_offset = 1;           // added to the timesteps of "leading" spacing
  bool set_alpha_to_one = false;  // DDIM ends at alpha_cumprod = 1, else at that of timestep 0

  TimestepSpacing spacing(SamplerKind kind) const {
    return kind == SamplerKind::ddim ? ddim_spacing : dpmsolver_spacing;
  }
};

// The products of (1 - beta_s) for s = 0..t: one value in (0, 1) per training timestep t, the last
// of which may be 0. Throws BundleError if the schedule is not a valid one.
std::vector<double> alphas_cumprod(const NoiseSchedule& schedule);

// The training timesteps that a sampler visits, descending, one per step. They are diffusers' with
// two exceptions:
// - "trailing" spacing has num_inference_steps entries where diffusers has one more, -1, for some
//   numbers of steps;
// - numbers of steps with which "leading" spacing would leave more than the noisiest quarter of
//   the schedule out (334 to 374 and 501 to 749 of 1000) are refused.
// `spacing`: unset, the schedule's for that sampler.
// Throws RequestError, in the name of the option `asked`, if there are no such timesteps.
std::vector<int> timesteps(const NoiseSchedule& schedule, int num_inference_steps,
                           SamplerKind kind = SamplerKind::ddim,
                           std::optional<TimestepSpacing> spacing = std::nullopt,
                           std::string_view asked = "num_inference_steps");

}  // namespace fgdm
