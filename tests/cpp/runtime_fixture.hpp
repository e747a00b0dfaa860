#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <iterator>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "fgdm/engine.hpp"

// ONNX Runtime's library, where the Python that the build was given has it.
#ifndef FGDM_TEST_RUNTIME
#define FGDM_TEST_RUNTIME ""
#endif

namespace fgdm::testing {

// Tests that need the runtime.
class RuntimeTest : public ::testing::Test {
protected:
  void SetUp() override {
    if (std::string(FGDM_TEST_RUNTIME).empty())
      GTEST_SKIP() << "there is no ONNX Runtime in the Python that CMake was given";
  }
};

// How tests open that library: on one thread, with one option set otherwise.
inline EngineOptions cpu_options() {
  EngineOptions options;
  options.backend = "cpu";
  options.threads = 1;
  options.library = FGDM_TEST_RUNTIME;
  return options;
}
template <typename T> EngineOptions with(T EngineOptions::* option, std::type_identity_t<T> value) {
  auto options = cpu_options();
  options.*option = std::move(value);
  return options;
}

// The threads of this process, once those that were joined have left.
inline int num_threads() {
  const auto count = [] {
    const std::filesystem::directory_iterator tasks("/proc/self/task");
    return static_cast<int>(std::distance(begin(tasks), end(tasks)));
  };
  for (int before = -1, now = count();; before = std::exchange(now, count())) {
    if (now == before)
      return now;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

// What a call of `function` throws as E says; "" if it throws nothing.
template <typename E, typename F> std::string refusal(F&& function) {
  try {
    function();
  } catch (const E& error) {
    return error.what();
  }
  return "";
}

inline void expect_words(const std::string& text, const std::vector<const char*>& words) {
  for (const char* word : words)
    EXPECT_NE(text.find(word), std::string::npos) << '"' << word << "\" isn't in: " << text;
}

}  // namespace fgdm::testing
