// Compiled with -mavx512f: thirty-two registers of sixteen numbers.
#ifdef __x86_64__
#define FGDM_LANES 16
#define FGDM_COLUMNS 5
#include "attention_loops.hpp"

const fgdm::cpu::AttentionKernel fgdm::cpu::attention_avx512{"avx512", scratch_of, attend};
#endif
