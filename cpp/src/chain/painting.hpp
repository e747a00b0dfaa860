#pragma once

#include <cstddef>

#include "factor_run.hpp"
#include "fgdm/result.hpp"
#include "graphs.hpp"

namespace fgdm {

// Takes decoded images into a request's result: to the host, or, with Request::keep_on_device, as
// they lie.
class Painting {
public:
  Painting(const Manifest& manifest, const Request& resolved, Graphs& graphs, Result& result)
      : manifest_(manifest), request_(resolved), graphs_(graphs), result_(result) {}

  // A row of decoded pictures, which is the image of this run. False, with nothing taken, if it
  // isn't finite. `image`: whose pixels outside of a mask, or of what edits have touched, stay as
  // they were; nullptr: nothing stays.
  bool take(const FactorRun& run, const Trajectory* image, const RowBuffer& pictures,
            std::size_t row);

  // The latents that the image was decoded from.
  void take_latents(const FactorRun& run, RowBuffer latents);

private:
  bool take_to_host(const FactorRun& run, const Trajectory* image, const RowBuffer& pictures,
                    std::size_t row);
  bool keep_there(const FactorRun& run, const Trajectory* image, const RowBuffer& pictures,
                  std::size_t row);

  const Manifest& manifest_;
  const Request& request_;
  Graphs& graphs_;
  Result& result_;
};

}  // namespace fgdm
