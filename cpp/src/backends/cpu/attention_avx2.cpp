// Compiled with -mavx2 -mfma: sixteen registers of eight numbers.
#ifdef __x86_64__
#define FGDM_LANES 8
#define FGDM_COLUMNS 3
#include "attention_loops.hpp"

const fgdm::cpu::AttentionKernel fgdm::cpu::attention_avx2{"avx2", scratch_of, attend};
#endif
