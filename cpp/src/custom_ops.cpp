// What ONNX Runtime calls in a library of custom ops, so that this one is such a library: a session
// of anybody's own, in whatever language, runs a bundle's graphs with the op's kernel.
#include <exception>
#include <map>
#include <memory>
#include <mutex>

#include "attention_op.hpp"

namespace {

using namespace fgdm::ort;

// One for each runtime in the process, for as long as the process lasts.
const AttentionOp& attention_op(const void* const* functions) {
  using Ops = std::map<const void* const*, std::unique_ptr<AttentionOp>>;
  static std::mutex mutex;
  static Ops& ops =
      *std::make_unique<Ops>().release();  // sessions may end after this library's own
  const std::lock_guard lock(mutex);
  auto& op = ops[functions];
  if (!op)
    op = std::make_unique<AttentionOp>(Table(functions), 0);
  return *op;
}

}  // namespace

// NULL, or what went wrong.
extern "C" __attribute__((visibility("default"))) Status* RegisterCustomOps(SessionOptions* options,
                                                                            const ApiBase* base) {
  const void* const* functions = base->get_api(api_version);
  if (functions == nullptr) {
    const Table oldest(base->get_api(1));
    return oldest.call<CreateStatus>(code_fail, "fgdm's op needs ONNX Runtime 1.21 or newer");
  }
  const Table api(functions);
  try {
    attention_op(functions).add_to(options);
    return nullptr;
  } catch (const std::exception& problem) {
    return api.call<CreateStatus>(code_fail, problem.what());
  }
}
