#include "attention_launch.cuh"

namespace fgdm::kernels {

template cudaError_t launch_attention<Float16>(int, const AttentionPlan&, const AttentionArguments&,
                                               cudaStream_t);

}  // namespace fgdm::kernels
