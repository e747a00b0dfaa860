#include "log.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

namespace fgdm {
namespace {

TEST(Log, LinesGoToTheLoggerThatIsSet) {
  std::vector<std::string> lines;
  set_logger([&](LogLevel level, std::string_view message) {
    lines.push_back((level == LogLevel::warning ? "warning " : "info ") + std::string(message));
  });
  tell(LogLevel::info, "one");
  tell(LogLevel::warning, "two");
  set_logger({});
  tell(LogLevel::info, "three");
  EXPECT_EQ(lines, (std::vector<std::string>{"info one", "warning two"}));
}

TEST(Log, WhatALoggerThrowsIsDropped) {
  set_logger([](LogLevel, std::string_view) { throw 1; });
  EXPECT_NO_THROW(tell(LogLevel::info, "one"));
  set_logger({});
}

// The child has none of the threads that tell something: it would wait for their lock for ever.
TEST(Log, AForkedChildTellsItsOwn) {
  std::atomic<bool> done = false;
  set_logger([](LogLevel, std::string_view) {});
  std::thread teller([&] {
    while (!done)
      tell(LogLevel::info, "one of many");
  });
  int well = 0;
  for (int round = 0; round < 20; ++round) {
    const auto child = ::fork();
    if (child == 0) {
      ::alarm(3);  // ends a child that hangs
      tell(LogLevel::info, "the child's");
      ::_exit(0);
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    well += status == 0 ? 1 : 0;
  }
  done = true;
  teller.join();
  set_logger({});
  EXPECT_EQ(well, 20);
}

}  // namespace
}  // namespace fgdm
