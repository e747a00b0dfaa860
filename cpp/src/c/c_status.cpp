#include "c_status.hpp"

#include <exception>
#include <new>

#include "fgdm/version.hpp"

namespace fgdm::c {
namespace {

std::string& last_error() {
  thread_local std::string message;
  return message;
}

fgdm_status failed(fgdm_status status, const char* message) noexcept {
  try {
    last_error() = message;
  } catch (...) {  // there is no memory for the message: the number has to do
    last_error().clear();
  }
  return status;
}

}  // namespace

fgdm_status status_of_current() noexcept {
  try {
    throw;
  } catch (const BundleError& error) {
    return failed(FGDM_BUNDLE_ERROR, error.what());
  } catch (const RequestError& error) {
    return failed(FGDM_REQUEST_ERROR, error.what());
  } catch (const BackendError& error) {
    return failed(FGDM_BACKEND_ERROR, error.what());
  } catch (const OutOfMemoryError& error) {
    return failed(FGDM_OUT_OF_MEMORY, error.what());
  } catch (const CancelledError& error) {
    return failed(FGDM_CANCELLED, error.what());
  } catch (const QueueFullError& error) {
    return failed(FGDM_QUEUE_FULL, error.what());
  } catch (const DeadlineError& error) {
    return failed(FGDM_DEADLINE, error.what());
  } catch (const std::bad_alloc&) {
    return failed(FGDM_OUT_OF_MEMORY, "there is no memory left");
  } catch (const std::exception& error) {
    return failed(FGDM_ERROR, error.what());
  } catch (...) {
    return failed(FGDM_ERROR, "an exception of an unknown kind");
  }
}

}  // namespace fgdm::c

extern "C" const char* fgdm_version(void) {
  return FGDM_VERSION;
}

extern "C" const char* fgdm_last_error(void) {
  return fgdm::c::last_error().c_str();
}
