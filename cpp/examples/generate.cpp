// Prompt in, picture out, with no Python in the process:
//   fgdm-generate bundles/scenes "two dogs beside a house" picture.ppm /path/to/libonnxruntime.so
//   fgdm-generate --backend tensorrt bundles/sd15 "two dogs beside a house" picture.ppm
#include <cstdio>
#include <exception>
#include <fstream>
#include <string>
#include <vector>

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

int run(const std::string& program, std::vector<std::string> words) {
  fgdm::EngineOptions options;
  if (words.size() > 1 && words.front() == "--backend") {
    options.backend = words[1];
    words.erase(words.begin(), words.begin() + 2);
  }
  if (words.size() < 3 || words.size() > 4 || words.front().starts_with("--")) {
    std::fprintf(stderr,
                 "usage: %s [--backend auto|cpu|openvino|cuda|tensorrt] BUNDLE PROMPT OUTPUT.ppm "
                 "[LIBRARY]\n"
                 "LIBRARY: libonnxruntime.so, or libnvinfer.so for tensorrt\n",
                 program.c_str());
    return 2;
  }
  if (words.size() > 3)
    (options.backend == "tensorrt" ? options.tensorrt_library : options.library) = words[3];
  fgdm::Engine engine(words[0], options);
  std::printf("%s on %s, loaded in %.2f s\n", engine.runtime().c_str(), engine.backend().c_str(),
              engine.load_seconds());

  fgdm::Request request;
  request.prompt = words[1];
  request.seed = 0;
  const auto result = engine.generate(request, [](const fgdm::StepInfo& step) {
    std::printf("\r%s %d/%d  ", step.factor.c_str(), step.step + 1, step.num_steps);
    std::fflush(stdout);
    return false;
  });
  write_ppm(words[2], result.image);

  const auto& chosen = result.candidates[static_cast<std::size_t>(result.chosen)];
  std::printf("\ncandidate %d of %zu holds %zu of %zu requested classes; %s, %.2f s\n",
              result.chosen, result.candidates.size(), chosen.found.size(), result.requested.size(),
              words[2].c_str(), result.timings.at("total"));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argv[0], {argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fgdm-generate: %s\n", error.what());
    return 1;
  }
}
