#pragma once

#include "fgdm/fgdm.h"
#include "fgdm/request.hpp"
#include "fgdm/result.hpp"

namespace fgdm::c {

// What an engine is given for the functions of a job; empty where there is none.
StepCallback step_callback(const fgdm_callbacks& callbacks);
MapCallback map_callback(const fgdm_callbacks& callbacks);
SelectCallback select_callback(const fgdm_callbacks& callbacks);

}  // namespace fgdm::c
