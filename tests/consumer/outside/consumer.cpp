// A program outside the source tree: consumer BUNDLE [LIBRARY]
// With ONNX Runtime's library it makes a picture; without, it reads what the bundle says.
#include <cstdio>
#include <exception>
#include <string_view>

#include <fgdm/bundle.hpp>
#include <fgdm/engine.hpp>
#include <fgdm/error.hpp>
#include <fgdm/version.hpp>

namespace {

int make_picture(const char* bundle, const char* library) {
  fgdm::EngineOptions options;
  options.backend = "cpu";
  options.library = library;
  fgdm::Engine engine(bundle, options);
  fgdm::Request request;
  request.prompt = "a dog beside a house";
  request.candidates = 1;
  request.condition_steps = request.num_inference_steps = 1;
  request.seed = 1;
  const auto result = engine.generate(request);
  std::printf("%d x %d\n", result.image.width, result.image.height);
  return result.image.width > 0 ? 0 : 1;
}

// The class of an exception that a library threw must be the one that its user catches.
bool knows_errors() {
  try {
    fgdm::Engine("there is no such bundle");
  } catch (const fgdm::BundleError& error) {
    return std::string_view(error.what()).find("no such bundle") != std::string_view::npos;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "not a BundleError: %s\n", error.what());
  }
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || !knows_errors())
    return 1;
  try {
    std::printf("fgdm %s\n", FGDM_VERSION);
    if (argc > 2)
      return make_picture(argv[1], argv[2]);
    const auto bundle = fgdm::Bundle::open(argv[1]);
    std::printf("%zu factors\n", bundle.manifest().factors.size());
    return bundle.manifest().factors.empty() ? 1 : 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
