// Prompt in, picture out, with no Python in the process:
//   fgdm-generate bundles/scenes "two dogs beside a house" picture.ppm /path/to/libonnxruntime.so
#include <cstdio>
#include <exception>
#include <fstream>
#include <string>

#include "fgdm/engine.hpp"
#include "fgdm/error.hpp"

namespace {

void write_ppm(const std::string& path, const fgdm::Pixels& image) {
  std::ofstream file(path, std::ios::binary);
  file << "P6\n" << image.width << ' ' << image.height << "\n255\n";
  file.write(reinterpret_cast<const char*>(image.data.data()),
             static_cast<std::streamsize>(image.data.size()));
  if (!file.flush())
    throw fgdm::RequestError(path + " cannot be written");
}

int run(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: %s BUNDLE PROMPT OUTPUT.ppm [LIBONNXRUNTIME]\n", argv[0]);
    return 2;
  }
  fgdm::EngineOptions options;
  if (argc > 4)
    options.library = argv[4];
  fgdm::Engine engine(argv[1], options);
  std::printf("%s on %s, loaded in %.2f s\n", engine.runtime().c_str(), engine.backend().c_str(),
              engine.load_seconds());

  fgdm::Request request;
  request.prompt = argv[2];
  request.seed = 0;
  const auto result = engine.generate(request, [](const fgdm::StepInfo& step) {
    std::printf("\r%s %d/%d  ", step.factor.c_str(), step.step + 1, step.num_steps);
    std::fflush(stdout);
    return false;
  });
  write_ppm(argv[3], result.image);

  const auto& chosen = result.candidates[static_cast<std::size_t>(result.chosen)];
  std::printf("\ncandidate %d of %zu holds %zu of %zu requested classes; %s, %.2f s\n",
              result.chosen, result.candidates.size(), chosen.found.size(), result.requested.size(),
              argv[3], result.timings.at("total"));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fgdm-generate: %s\n", error.what());
    return 1;
  }
}
