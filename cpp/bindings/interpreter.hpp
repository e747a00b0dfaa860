#pragma once

#include <pybind11/pybind11.h>

namespace fgdm::python {

// Whether the interpreter is on its way out. Then no other thread may enter it: depending on its
// version, a thread that tries is ended, with everything on its stack, or never comes back.
bool is_finalizing() noexcept;

// Gives the interpreter lock up for as long as it lives. A daemon thread that comes back to an
// interpreter on its way out rests here until the process ends.
class Unlocked {
public:
  Unlocked() : state_(PyEval_SaveThread()) {}
  ~Unlocked() noexcept(false);  // an interpreter may end the thread by unwinding its stack
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

private:
  PyThreadState* state_;
};

// Does work that needs the interpreter, on whatever thread, unless the interpreter is on its way
// out.
template <typename Work> void in_interpreter(const Work& work) {
  if (is_finalizing())
    return;
  const pybind11::gil_scoped_acquire lock;
  work();
}

// The same for work of somebody's, of which what it raises is told (sys.unraisablehook) and
// dropped; `what` names it there.
template <typename Work> void in_interpreter(const char* what, const Work& work) {
  in_interpreter([&] {
    try {
      work();
    } catch (pybind11::error_already_set& error) {
      error.discard_as_unraisable(what);
    }
  });
}

// In any interpreter but the process's main one, sets an ImportError and returns true: the module's
// types and its callbacks from other threads belong to one interpreter.
bool refuse_sub_interpreter();

}  // namespace fgdm::python
