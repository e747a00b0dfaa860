#include "fgdm/error.hpp"

#include <string>
#include <type_traits>

#include <gtest/gtest.h>

namespace fgdm {
namespace {

template <typename T> class ErrorTest : public ::testing::Test {};

using Errors = ::testing::Types<BundleError, RequestError, BackendError, OutOfMemoryError,
                                CancelledError, DeadlineError>;
TYPED_TEST_SUITE(ErrorTest, Errors);

// Protects callers that catch fgdm::Error, or std::exception, to handle everything the engine
// throws.
TYPED_TEST(ErrorTest, IsADirectChildOfErrorAndKeepsItsMessage) {
  try {
    throw TypeParam("what was given");
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()), "what was given");
  }
  EXPECT_TRUE((std::is_base_of_v<std::runtime_error, TypeParam>));
}

// Protects logs and terminals from a whole file that a message quotes, and what it says at its end.
TEST(ErrorTreeTest, TheMiddleOfAMessageThatIsTooLongIsLeftOut) {
  std::string quoted;
  for (int i = 0; i < 3000; ++i)
    quoted += "\xC3\xA9";  // two bytes, not to be cut between
  const std::string message = BundleError("it is " + quoted + "; export again").what();
  EXPECT_LE(message.size(), Error::max_size);
  EXPECT_GT(message.size(), Error::max_size - 10);
  EXPECT_TRUE(message.starts_with("it is \xC3\xA9"));
  EXPECT_NE(message.find("\xC3\xA9...\xC3\xA9"), std::string::npos);
  EXPECT_TRUE(message.ends_with("; export again"));
  const std::string kept(Error::max_size, 'a');
  EXPECT_EQ(BundleError(kept).what(), kept);
}

// Protects callers that retry one kind of error: no kind may be caught as another.
TEST(ErrorTreeTest, KindsAreDistinct) {
  EXPECT_FALSE((std::is_base_of_v<BackendError, OutOfMemoryError>));
  EXPECT_FALSE((std::is_base_of_v<CancelledError, DeadlineError>));
  EXPECT_THROW(
      {
        try {
          throw OutOfMemoryError("full");
        } catch (const BackendError&) {
          FAIL() << "caught as a BackendError";
        }
      },
      OutOfMemoryError);
}

}  // namespace
}  // namespace fgdm
