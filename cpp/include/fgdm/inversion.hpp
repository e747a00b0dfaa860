#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fgdm/api.h"
#include "fgdm/pixels.hpp"
#include "fgdm/sampler.hpp"

namespace fgdm {

// How a picture is taken back into noise through one factor.
struct FGDM_API InversionSettings {
  std::string factor;  // whose picture it is: a condition factor's map, or the image
  // What the picture shows, or "": then the negative prompt alone is what the model is told.
  std::string prompt, negative_prompt;
  double guidance_scale = 1.0;  // of the prompt, 0 to 100; up to 1: none
  // dpmsolver_sde, or ddim with eta 1 or 0.
  SamplerKind sampler = SamplerKind::dpmsolver_sde;
  // 1: edit-friendly inversion (Huberman-Spiegelglas et al., "An Edit Friendly DDPM Noise Space:
  // Inversion and Manipulations", CVPR 2024, algorithm 1): latents as noisy as before every step,
  // of noise that is independent for each, and what the sampler's steps lack to pass through them.
  // 0, of ddim alone: the way back of its own steps (Sampler::ddim_inverse), which lands near the
  // picture.
  double eta = 1.0;
  std::optional<TimestepSpacing> timestep_spacing;  // unset: the factor's, else the schedule's
  int num_inference_steps = 50;                     // 2 to 1000, of the whole schedule
  // The part of them, from the noisiest on, that is left out, from 0 to less than 1: with more,
  // less of the picture can change.
  double skip = 0.2;

  int first() const;  // the step that is taken first
};

// A picture that was taken back into noise. It can be edited many times.
struct FGDM_API Inversion {
  InversionSettings settings;  // as they were resolved
  std::string bundle;          // SHA-256 of the manifest of the bundle that it was made with
  int height, width;           // of the request's image, in pixels
  Pixels picture;              // what was inverted, RGB, of the factor's size
  std::vector<float> latents;  // (C, h, w): where sampling begins
  // (steps from first() on, C, h, w): what each adds to its result to land on the next latents, the
  // noise of the step times its deviation (found_remainder in sampler.hpp). The last has what
  // the model's last prediction lacks of the picture. Empty with eta 0.
  std::vector<float> remainders;
  // (steps from first() on, C, h, w): the latents that each leads to where nothing is edited; the
  // last are the picture's own. With eta 0 those that the way back went through.
  std::vector<float> visited;
};

// A change that words ask for (Brack et al., "LEDITS++: Limitless Image Editing using Text-to-Image
// Models", CVPR 2024, section 4.2).
struct FGDM_API Edit {
  std::string prompt;            // what the picture shall show, or no longer
  bool away = false;             // no longer
  double scale = 5.0;            // of its guidance, 0 to 100
  int warm_up = 0;               // the edited steps that go before it
  std::optional<int> cool_down;  // the edited steps after which it ends, more than warm_up
  // It acts where its prediction differs most from that without it: on the cells above this
  // quantile of the difference, 0 to 1; 0: on all.
  double threshold = 0.9;
  // Of those cells, only where the attention of the prompt's own words is above this quantile, too;
  // in the noisiest fifth of the schedule there alone. Needs a backbone that makes attention_maps.
  bool attention = false;
  // Only where the map has this class, by any of its names: the inverted map, or of an image the
  // last map of the request; "": everywhere.
  std::string region;
  Pixels mask;  // (height, width) of the picture: only where it isn't 0; empty: everywhere
};

// What a request inverts or edits.
struct FGDM_API Editing {
  InversionSettings settings;  // of a request that inverts; of one that edits, the inversion's
  // Of one that inverts with eta 1: (steps from first() on, C, h, w) standard normal noise, that of
  // the noisiest latents first; empty: of the seed.
  std::vector<float> noise;
  // What is edited; without one, the request inverts the map or the image that it gives, and ends
  // with that factor.
  std::shared_ptr<const Inversion> inversion;
  std::vector<Edit> edits;  // 1 to 8
  // Of a request that inverts: edits that are to follow, or none. They are refused now as they
  // would be then, and not made.
  std::vector<Edit> following;
  // Whether all that no edit has acted on stays: cells of the latents are `visited` after every
  // step, and their pixels the inverted picture's in the end. An edit with a region or a mask may
  // change all of that, another the cells that its threshold has let it act on so far. Without it,
  // LEDITS++ as it was published: later steps see what changed, and may change the rest.
  bool keep = true;
};

}  // namespace fgdm
