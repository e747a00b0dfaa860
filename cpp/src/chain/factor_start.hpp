#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chosen_maps.hpp"
#include "factor_run.hpp"
#include "job.hpp"

namespace fgdm {

// How a request's factors begin: what their networks see of earlier factors' maps and latents, and
// the latents that their candidates begin with.
class FactorStart {
public:
  // What is encoded is booked on `timings`, by factor.
  FactorStart(const Manifest& manifest, Graphs& graphs, const JobState& job, ChosenMaps& maps,
              std::map<std::string, Timings>& timings)
      : manifest_(manifest), graphs_(graphs), job_(job), request_(job.request), maps_(maps),
        timings_(timings) {}

  // The factor `index` of the chain, which is sampled together with others of `group`.
  std::unique_ptr<FactorRun> run(std::uint32_t index, const std::vector<std::uint32_t>& group,
                                 Embeddings positive, Embeddings negative) const;

  // A candidate's latents before its first step: one row.
  RowBuffer latents(const FactorRun& run, int candidate) const;

private:
  std::optional<std::size_t> member_of(const std::vector<std::uint32_t>& group,
                                       const std::string& factor) const;
  std::vector<SeenLatent> seen_latents(const FactorRun& run, const std::vector<std::string>& names,
                                       const std::vector<std::uint32_t>& group) const;
  void begin_networks(FactorRun& run, const std::vector<std::uint32_t>& group) const;
  RowBuffer control_image(const ConditioningSpec& network, const FactorSize& size) const;
  void begin_start(FactorRun& run) const;
  RowBuffer encoded_start(const FactorRun& run) const;
  std::vector<float> noise(const FactorRun& run, int candidate) const;

  const Manifest& manifest_;
  Graphs& graphs_;
  const JobState& job_;
  const Request& request_;
  ChosenMaps& maps_;
  std::map<std::string, Timings>& timings_;
};

}  // namespace fgdm
