#include "interpreter.hpp"

#include <unistd.h>

namespace fgdm::python {

bool is_finalizing() noexcept {
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsFinalizing() != 0;
#else
  return _Py_IsFinalizing() != 0;
#endif
}

Unlocked::~Unlocked() noexcept(false) {
  while (is_finalizing())
    ::pause();
  PyEval_RestoreThread(state_);
}

bool refuse_sub_interpreter() {
  if (PyInterpreterState_Get() == PyInterpreterState_Main())
    return false;
  PyErr_SetString(PyExc_ImportError,
                  "fgdm can't be used in a sub-interpreter; import it in the process's main "
                  "interpreter, or in a process of its own");
  return true;
}

}  // namespace fgdm::python
