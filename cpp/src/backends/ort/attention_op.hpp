#pragma once

#include <memory>

#include "ort_handle.hpp"

namespace fgdm::ort {

// The op fgdm::SegFreeAttention for sessions on the processor, over the kernel of backends/cpu. A
// registered op takes the place of a model's own function of that name; it is float32 only, and a
// graph that gives the op float16 is refused by the runtime.
//
// It must outlive the sessions that it was added to.
class AttentionOp {
public:
  // `threads` that sessions will have, 0 for the runtime's choice: how finely work is cut.
  AttentionOp(const Table& api, int threads);

  void add_to(SessionOptions* options) const;

private:
  Table api_;
  std::shared_ptr<const CustomOp> definition_;
  Handle<CustomOpDomain, ReleaseCustomOpDomain> domain_;
};

}  // namespace fgdm::ort
