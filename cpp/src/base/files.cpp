#include "files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <system_error>
#include <unordered_set>
#include <vector>

#include "fgdm/error.hpp"
#include "wording.hpp"

namespace fgdm {
namespace {

using Json = nlohmann::json;

constexpr int deepest = 64;

class Descriptor {
public:
  // Doesn't wait for a writer, as opening a pipe would.
  explicit Descriptor(const std::filesystem::path& path)
      : number_(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)) {}
  ~Descriptor() {
    if (number_ >= 0)
      ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return number_; }

private:
  int number_;
};

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what) {
  throw BundleError(excerpt(path.string(), 300) + " " + what +
                    "; export the bundle again, or fetch a fresh copy of it");
}

std::string reason() {
  return std::error_code(errno, std::generic_category()).message();
}

// How deep brackets are nested, those in strings left out.
int depth_of(std::string_view text) {
  int depth = 0, most = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      most = std::max(most, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return most;
}

// A parser's callback that refuses a key which an object has twice: readers would disagree on it.
class UniqueKeys {
public:
  bool operator()(int, Json::parse_event_t event, const Json& parsed) {
    if (event == Json::parse_event_t::object_start)
      open_.emplace_back();
    else if (event == Json::parse_event_t::object_end)
      open_.pop_back();
    else if (event == Json::parse_event_t::key)
      check(parsed.get_ref<const std::string&>());
    return true;
  }

private:
  void check(const std::string& key) {
    if (!open_.back().insert(key).second)
      throw BundleError("an object has the key \"" + excerpt(key) + "\" twice");
  }

  std::vector<std::unordered_set<std::string>> open_;  // keys of the objects that are being read
};

}  // namespace

std::string read_file(const std::filesystem::path& path, std::size_t most) {
  const Descriptor file(path);
  if (file.get() < 0)
    fail(path, "cannot be read (" + reason() + ")");
  struct stat status{};
  if (::fstat(file.get(), &status) != 0)
    fail(path, "cannot be read (" + reason() + ")");
  if (!S_ISREG(status.st_mode))
    fail(path, "is no regular file");
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size > most)
    fail(path, "has " + std::to_string(size) + " bytes, expected at most " + std::to_string(most));
  std::string text(size, '\0');
  for (std::size_t have = 0; have < size;) {
    const auto got = ::read(file.get(), text.data() + have, size - have);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      fail(path, "cannot be read (" + reason() + ")");
    if (got == 0) {  // somebody shortened it
      text.resize(have);
      break;
    }
    have += static_cast<std::size_t>(got);
  }
  return text;
}

nlohmann::json parse_json(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF"))
    throw BundleError("it begins with a byte order mark, expected UTF-8 without one");
  if (const auto zero = text.find('\0'); zero != std::string_view::npos)
    throw BundleError("it has a zero byte at " + std::to_string(zero));
  if (depth_of(text) > deepest)
    throw BundleError("its brackets are nested deeper than " + std::to_string(deepest));
  UniqueKeys keys;
  try {
    return Json::parse(text.begin(), text.end(), std::ref(keys));
  } catch (const Json::parse_error& error) {
    throw BundleError("it is not valid JSON: truncated, damaged or not UTF-8 at byte " +
                      std::to_string(error.byte));
  } catch (const Json::exception&) {
    throw BundleError("it has a number that is too large");
  }
}

}  // namespace fgdm
