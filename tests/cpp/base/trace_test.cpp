// A timeline must be JSON whatever the names and the locale, and its loss must be told.
#include "trace.hpp"

#include <gtest/gtest.h>

#include <clocale>
#include <fstream>
#include <locale>
#include <nlohmann/json.hpp>

#include "temp_folder.hpp"

namespace {

using fgdm::Trace;

nlohmann::json written(const std::string& name) {
  const fgdm::testing::TempFolder folder;
  const auto file = folder / "trace.json";
  {
    Trace trace(file);
    const auto begin = Trace::Clock::now();
    trace.span("sessions", name, begin, 1'234'567);
    trace.request(1'234, begin, "done");
  }
  std::ifstream stream(file);
  return nlohmann::json::parse(stream);
}

TEST(Trace, NamesAreEscaped) {
  const std::string name = "a \"quoted\" \\ name\nwith\x01 controls and \xC3\xA4";
  EXPECT_EQ(written(name)[1]["name"], name);
}

// A comma for the point, and groups of three digits, as German has them; made here, so that it
// doesn't matter which locales are installed.
struct German : std::numpunct<char> {
  char do_decimal_point() const override { return ','; }
  char do_thousands_sep() const override { return '.'; }
  std::string do_grouping() const override { return "\3"; }
};

TEST(Trace, IsJsonUnderADecimalComma) {
  const std::locale before = std::locale::global(std::locale(std::locale(), new German));
  const auto events = written("backbone");
  std::locale::global(before);
  EXPECT_EQ(events[1]["args"]["rows"], 1'234'567);
  EXPECT_EQ(events[2]["id"], 1'234);
  EXPECT_TRUE(events[1]["ts"].is_number());
}

TEST(Trace, IsJsonUnderADecimalCommaOfC) {
  const std::string before = std::setlocale(LC_ALL, nullptr);
  if (std::setlocale(LC_ALL, "de_DE.UTF-8") == nullptr)
    GTEST_SKIP() << "the locale de_DE.UTF-8 isn't installed";
  const auto events = written("backbone");
  std::setlocale(LC_ALL, before.c_str());
  EXPECT_EQ(events.size(), 4U);
  EXPECT_TRUE(events[1]["dur"].is_number());
}

TEST(Trace, AFullDiskIsTold) {
  if (!std::filesystem::exists("/dev/full"))
    GTEST_SKIP() << "no /dev/full here";
  Trace trace("/dev/full");
  trace.span("batches", "maps", Trace::Clock::now(), 2);
  EXPECT_NE(trace.problem().find("/dev/full is incomplete"), std::string::npos) << trace.problem();
  EXPECT_NE(trace.problem().find("No space left"), std::string::npos) << trace.problem();
  EXPECT_EQ(Trace("").problem(), "");
}

}  // namespace
