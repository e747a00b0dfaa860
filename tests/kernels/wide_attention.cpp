// The loops over vectors of sixteen numbers, as the kernel for AVX-512 has them, in instructions
// that every processor runs: what few machines can test as it ships.
#include "wide_attention.hpp"

#define FGDM_LANES 16
#define FGDM_COLUMNS 5
#include "attention_loops.hpp"

const fgdm::cpu::AttentionKernel fgdm::cpu::attention_wide{"wide", scratch_of, attend};
