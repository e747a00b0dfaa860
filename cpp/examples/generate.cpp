// Prompt in, picture out, with no Python in the process:
//   fgdm-generate bundles/scenes "two dogs beside a house" picture.ppm /path/to/libonnxruntime.so
//   fgdm-generate --backend tensorrt bundles/sd15 "two dogs beside a house" picture.ppm
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "fgdm/engine.hpp"
#include "fgdm/error.hpp"

namespace {

// A picture that is there whole or not at all. That it can be written is known from the beginning.
class Picture {
public:
  explicit Picture(std::string path)
      : path_(std::move(path)), partial_(path_ + ".part"), file_(partial_, std::ios::binary) {
    if (!file_ || std::filesystem::is_directory(path_))
      refuse();
  }
  Picture(const Picture&) = delete;
  Picture& operator=(const Picture&) = delete;
  ~Picture() {
    std::error_code ignored;
    std::filesystem::remove(partial_, ignored);
  }

  void write(const fgdm::Pixels& image) {
    file_ << "P6\n" << image.width << ' ' << image.height << "\n255\n";
    file_.write(reinterpret_cast<const char*>(image.data.data()),
                static_cast<std::streamsize>(image.data.size()));
    file_.close();
    std::error_code failed;
    if (file_)
      std::filesystem::rename(partial_, path_, failed);
    if (!file_ || failed)
      refuse();
  }

private:
  [[noreturn]] void refuse() const {
    std::error_code ignored;
    std::filesystem::remove(partial_, ignored);
    throw fgdm::RequestError(path_ + " cannot be written");
  }

  std::string path_, partial_;
  std::ofstream file_;
};

int run(const std::string& program, std::vector<std::string> words) {
  fgdm::EngineOptions options;
  if (words.size() > 1 && words.front() == "--backend") {
    options.backend = words[1];
    words.erase(words.begin(), words.begin() + 2);
  }
  if (words.size() < 3 || words.size() > 4 || words.front().starts_with("--")) {
    std::fprintf(stderr,
                 "usage: %s [--backend NAME] BUNDLE PROMPT OUTPUT.ppm [LIBRARY]\n"
                 "NAME: auto, cpu, openvino, cuda, tensorrt, tensorrt-rtx or webgpu\n"
                 "LIBRARY: libonnxruntime.so, or libnvinfer.so for tensorrt\n",
                 program.c_str());
    return 2;
  }
  if (words.size() > 3)
    (options.backend == "tensorrt" ? options.tensorrt_library : options.library) = words[3];
  Picture picture(words[2]);
  fgdm::Engine engine(words[0], options);
  std::printf("%s on %s, loaded in %.2f s\n", engine.runtime().c_str(), engine.backend().c_str(),
              engine.load_seconds());

  fgdm::Request request;
  request.prompt = words[1];
  request.seed = 0;
  std::string shown;  // several batches may take one step
  const auto result = engine.generate(request, [&](const fgdm::StepInfo& step) {
    auto progress =
        step.factor + " " + std::to_string(step.step + 1) + "/" + std::to_string(step.num_steps);
    if (progress != shown) {
      std::printf("\r%s  ", progress.c_str());
      std::fflush(stdout);
      shown = std::move(progress);
    }
    return false;
  });
  picture.write(result.image);

  if (result.candidates.empty()) {  // of a bundle that only paints
    std::printf("\n%s, %.2f s\n", words[2].c_str(), result.timings.at("total"));
    return 0;
  }
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
