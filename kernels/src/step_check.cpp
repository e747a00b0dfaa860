#include <initializer_list>

#include "fgdm/kernels.h"
#include "messages.hpp"

const char* fgdm_guided_step_check(const fgdm_step_shape* shape) {
  using fgdm::kernels::message;
  constexpr int max_rows = 65535;        // of a grid's second dimension
  constexpr int max_elements = 1 << 30;  // keeps thread indices within int
  if (shape == nullptr)
    return "guided_step: the shape is NULL";
  if (shape->rows < 1 || shape->rows > max_rows)
    return message("guided_step: rows is %d, expected 1 to %d", shape->rows, max_rows);
  if (shape->elements < 1 || shape->elements > max_elements)
    return message("guided_step: elements is %d, expected 1 to %d", shape->elements, max_elements);
  for (const fgdm_dtype dtype : {shape->epsilon_dtype, shape->input_dtype})
    if (dtype != FGDM_FLOAT32 && dtype != FGDM_FLOAT16 && dtype != FGDM_BFLOAT16)
      return message("guided_step: a dtype is %d, expected FGDM_FLOAT32, FGDM_FLOAT16 or "
                     "FGDM_BFLOAT16",
                     static_cast<int>(dtype));
  return nullptr;
}
