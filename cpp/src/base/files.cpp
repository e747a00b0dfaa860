#include "files.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <memory>
#include <system_error>
#include <unordered_set>
#include <vector>

#include "fgdm/error.hpp"
#include "wording.hpp"

namespace fgdm {
namespace {

using Json = nlohmann::json;

constexpr int deepest = 64;

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what) {
  throw BundleError(excerpt(path.string(), 300) + " " + what +
                    "; export the bundle again, or fetch a fresh copy of it");
}

[[noreturn]] void fail_to_read(const std::filesystem::path& path) {
  const std::error_code reason(errno, std::generic_category());
  const auto what = "cannot be read (" + reason.message() + ")";
  if (reason == std::errc::permission_denied)
    throw BundleError(excerpt(path.string(), 300) + " " + what +
                      "; let this process's user read it");
  fail(path, what);
}

// A regular file that is open. Throws BundleError for any other.
class OpenFile {
public:
  // Doesn't wait for a writer, as opening a pipe would.
  explicit OpenFile(const std::filesystem::path& path)
      : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)) {
    struct stat status{};
    if (descriptor_ < 0)
      fail_to_read(path);
    try {
      if (::fstat(descriptor_, &status) != 0)
        fail_to_read(path);
      if (!S_ISREG(status.st_mode))
        fail(path, "is no regular file");
    } catch (...) {
      ::close(descriptor_);
      throw;
    }
    size_ = static_cast<std::uint64_t>(status.st_size);
  }
  ~OpenFile() { ::close(descriptor_); }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  std::uint64_t size() const { return size_; }

  // Reads from a place on until `into` is full or the file ends; how many bytes that were.
  std::size_t read(std::uint64_t offset, std::span<std::byte> into) const {
    std::size_t have = 0;
    while (have < into.size()) {
      const auto got = ::pread(descriptor_, into.data() + have, into.size() - have,
                               static_cast<off_t>(offset + have));
      if (got < 0 && errno == EINTR)
        continue;
      if (got < 0)
        fail_to_read(path_);
      if (got == 0)
        break;
      have += static_cast<std::size_t>(got);
    }
    return have;
  }

  Bytes map() const {
    if (size_ == 0)
      return {};
    const auto size = static_cast<std::size_t>(size_);
    void* const pages = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor_, 0);
    if (pages == MAP_FAILED)
      fail_to_read(path_);
    std::shared_ptr<const void> owner(
        pages, [size](const void* mapped) { ::munmap(const_cast<void*>(mapped), size); });
    return {{static_cast<const std::byte*>(pages), size}, std::move(owner)};
  }

private:
  const std::filesystem::path& path_;
  int descriptor_;
  std::uint64_t size_ = 0;
};

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
  const OpenFile file(path);
  if (file.size() > most)
    fail(path,
         "has " + std::to_string(file.size()) + " bytes, expected at most " + std::to_string(most));
  std::string text(static_cast<std::size_t>(file.size()), '\0');
  text.resize(file.read(0, std::as_writable_bytes(std::span(text))));  // somebody may shorten it
  return text;
}

std::vector<std::byte> read_part(const std::filesystem::path& path, std::uint64_t offset,
                                 std::uint64_t size) {
  const OpenFile file(path);
  if (offset > file.size() || size > file.size() - offset)
    fail(path, "ends before byte " + std::to_string(offset) + " + " + std::to_string(size));
  std::vector<std::byte> bytes(static_cast<std::size_t>(size));
  if (file.read(offset, bytes) != bytes.size())
    fail(path, "was shortened while it was read");
  return bytes;
}

Bytes map_file(const std::filesystem::path& path) {
  return OpenFile(path).map();
}

void let_go(std::span<const std::byte> mapped) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(mapped.data());
  const auto first = (begin + page - 1) / page * page, end = (begin + mapped.size()) / page * page;
  if (first < end)  // what fails costs memory alone
    static_cast<void>(::madvise(reinterpret_cast<void*>(first), end - first, MADV_DONTNEED));
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
