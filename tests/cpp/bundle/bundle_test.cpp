// The manifest must be one whose hash is recorded; while it is replaced two are.
#include "fgdm/bundle.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "bundle_folder.hpp"
#include "fgdm/error.hpp"
#include "runtime_fixture.hpp"

namespace fgdm {
namespace {

std::string content(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

class BundleHash : public ::testing::Test {
protected:
  BundleHash() {
    const auto graphs = folder_.manifest()["graphs"];
    for (const auto& graph : graphs)
      folder_.add(graph["file"].get<std::string>(), "a graph that nobody opens");
    folder_.save(folder_.manifest().dump());
    own_ = content(folder_.path() / "manifest.sha256");
  }

  // What manifest.sha256 says.
  void record(const std::string& lines) const {
    std::ofstream(folder_.path() / "manifest.sha256") << lines;
  }

  testing::BundleFolder folder_;
  std::string own_;
  const std::string other_ = std::string(64, '0') + "  manifest.json\n";
};

TEST_F(BundleHash, IsTheOnlyOneOrOneOfTwo) {
  for (const auto& lines : {own_, own_ + other_, other_ + own_, own_.substr(0, 64)}) {
    record(lines);
    EXPECT_EQ(Bundle::open(folder_.path()).manifest_json(), folder_.manifest().dump()) << lines;
  }
}

TEST_F(BundleHash, MustBeThere) {
  for (const auto& lines : {other_, other_ + other_, std::string(), " " + own_, own_.substr(1)}) {
    record(lines);
    testing::expect_words(testing::refusal<BundleError>([&] { Bundle::open(folder_.path()); }),
                          {"manifest.json", "does not match manifest.sha256"});
  }
}

}  // namespace
}  // namespace fgdm
