// What every processor of the architecture the core is built for can run.
#define FGDM_LANES 4
#if defined(__aarch64__)
#define FGDM_COLUMNS 5
#define FGDM_NAME "neon"
#elif defined(__x86_64__)
#define FGDM_COLUMNS 2
#define FGDM_NAME "sse2"
#else
#define FGDM_COLUMNS 2
#define FGDM_NAME "plain"
#endif
#include "attention_loops.hpp"

const fgdm::cpu::AttentionKernel fgdm::cpu::attention_baseline{FGDM_NAME, scratch_of, attend};
