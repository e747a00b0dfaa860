#include <chrono>
#include <optional>

#include "c_arrays.hpp"
#include "c_handles.hpp"
#include "c_status.hpp"
#include "wording.hpp"

namespace {

using fgdm::RequestError;
using fgdm::c::guarded;
using fgdm::c::required;

const fgdm::Candidate& candidate_of(const std::vector<fgdm::Candidate>& candidates, int chosen,
                                    int wanted) {
  const int place = wanted == FGDM_CHOSEN ? chosen : wanted;
  if (place < 0 || place >= static_cast<int>(candidates.size()))
    throw RequestError("candidate is " + fgdm::shown(wanted) + ", but there are " +
                       fgdm::shown(candidates.size()) + " of them");
  return candidates[static_cast<std::size_t>(place)];
}

const fgdm::Candidate& candidate_of(const fgdm::Result& result, const char* factor, int wanted) {
  if (factor == nullptr)
    return candidate_of(result.candidates, result.chosen, wanted);
  const auto found = result.factors.find(factor);
  if (found == result.factors.end())
    throw RequestError("the result has no factor " + fgdm::excerpt(factor));
  return candidate_of(found->second.candidates, found->second.chosen, wanted);
}

void lend_kind(const fgdm::Result& result, const char* factor, int candidate, fgdm_kind kind,
               fgdm_pixels& pixels) {
  if (kind != FGDM_IMAGE && kind != FGDM_MAP && kind != FGDM_LABELS)
    throw RequestError("kind is " + fgdm::shown(static_cast<int>(kind)) +
                       ", expected FGDM_IMAGE, FGDM_MAP or FGDM_LABELS");
  if (kind == FGDM_IMAGE) {
    if (factor != nullptr || candidate != FGDM_CHOSEN)
      throw RequestError("there is one image: factor must be NULL and candidate FGDM_CHOSEN");
    pixels = fgdm::c::lent(result.image);
    return;
  }
  const auto& chosen = candidate_of(result, factor, candidate);
  if (kind == FGDM_LABELS && chosen.labels.data.empty())
    throw RequestError("this factor makes pictures, which have no labels; expected FGDM_MAP");
  pixels = fgdm::c::lent(kind == FGDM_MAP ? chosen.map : chosen.labels);
}

}  // namespace

extern "C" fgdm_status fgdm_job_wait(fgdm_job* job, double seconds) {
  return guarded([&] {
    const auto& waited = required(job, "job").job;
    if (!(seconds == seconds))
      throw RequestError("seconds is not a number");
    // Longer than a clock can count is as long as it takes.
    const bool for_ever = seconds < 0.0 || seconds > 1e9;
    const auto most =
        for_ever ? std::nullopt : std::optional(std::chrono::duration<double>(seconds));
    if (!waited.wait(most))
      return FGDM_NOT_DONE;
    static_cast<void>(waited.result());
    return FGDM_OK;
  });
}

extern "C" fgdm_status fgdm_job_cancel(fgdm_job* job) {
  return guarded([&] {
    required(job, "job").job.cancel();
    return FGDM_OK;
  });
}

extern "C" fgdm_status fgdm_job_json(fgdm_job* job, const char** json) {
  return guarded([&] {
    required(json, "json") = nullptr;
    auto& asked = required(job, "job");
    if (!asked.job.done())
      return FGDM_NOT_DONE;
    const auto& result = asked.job.result();
    std::call_once(asked.written, [&] { asked.json = fgdm::result_json(result, *asked.info); });
    *json = asked.json.c_str();
    return FGDM_OK;
  });
}

extern "C" fgdm_status fgdm_job_pixels(fgdm_job* job, const char* factor, int candidate,
                                       fgdm_kind kind, fgdm_pixels* pixels) {
  return guarded([&] {
    required(pixels, "pixels") = {};
    const auto& asked = required(job, "job").job;
    if (!asked.done())
      return FGDM_NOT_DONE;
    lend_kind(asked.result(), factor, candidate, kind, *pixels);
    return FGDM_OK;
  });
}

extern "C" void fgdm_job_free(fgdm_job* job) {
  delete job;
}
