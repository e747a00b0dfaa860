#include "contexts.hpp"

#include <chrono>
#include <fstream>
#include <random>
#include <system_error>
#include <vector>

#include "covers.hpp"
#include "fgdm/error.hpp"
#include "fgdm/sha256.hpp"
#include "fgdm/version.hpp"
#include "files.hpp"
#include "json_field.hpp"
#include "wording.hpp"

namespace fgdm {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr int context_schema = 1;
constexpr const char* model_name = "context.onnx";
constexpr const char* metadata_name = "context.json";

[[noreturn]] void refuse_context(const std::string& what) {
  throw BundleError(excerpt(what, 500));
}

using ContextField = JsonField<refuse_context>;

// What a context's metadata says. Throws BundleError for what isn't JSON, or of a newer fgdm.
Json read_metadata(const fs::path& context) {
  std::error_code absent;
  if (!fs::is_regular_file(context / metadata_name, absent))
    throw BundleError(std::string(metadata_name) + " is missing");
  auto document = parse_json(read_file(context / metadata_name));
  if (ContextField(document, "")["schema"].integer(1, 1'000'000) > context_schema)
    throw BundleError("it was written by a newer fgdm");
  return document;
}

bool leaves_its_folder(const fs::path& file) {
  return file.is_absolute() || file.empty() || *file.lexically_normal().begin() == "..";
}

// Throws BundleError unless the context is as it was written, and covers this.
void check_context(const fs::path& context, const Json& covers) {
  const auto document = read_metadata(context);
  if (!document.contains("covers") || document["covers"] != covers)
    throw BundleError("what it covers has been altered");
  bool has_model = false;
  for (const auto& [name, spec] : ContextField(document, "")["files"].entries()) {
    const auto file = context / name;
    if (leaves_its_folder(name))
      throw BundleError(name + " is no file of it");
    has_model = has_model || name == model_name;
    std::error_code failed;
    if (!fs::is_regular_file(file, failed))
      throw BundleError(name + " is missing");
    const auto size = spec["size"].integer(0, std::int64_t{1} << 50);
    if (fs::file_size(file, failed) != static_cast<std::uintmax_t>(size) || failed)
      throw BundleError(name + " has another size than was written");
    if (sha256_file(file) != spec["sha256"].digest())
      throw BundleError(name + " has been altered (its SHA-256 differs)");
  }
  if (!has_model)
    throw BundleError(std::string("it has no ") + model_name);
}

// How often a draft is put in a place that other processes put theirs in.
constexpr int most_attempts = 5;

std::string random_name() {
  std::random_device device;
  return std::to_string(device()) + std::to_string(device());
}

// A name beside `place` that nobody takes for a context.
fs::path hidden_beside(const fs::path& place) {
  return place.parent_path() / ("." + place.filename().string() + "." + random_name() + ".part");
}

void remove_leftovers(const fs::path& folder) {
  std::error_code failed;
  const auto yesterday = fs::file_time_type::clock::now() - std::chrono::hours(24);
  std::vector<fs::path> old;
  for (fs::directory_iterator entry(folder, failed), end; !failed && entry != end;
       entry.increment(failed)) {
    std::error_code unknown;
    const auto& path = entry->path();
    if (path.extension() == ".part" && path.filename().string().front() == '.' &&
        entry->last_write_time(unknown) < yesterday && !unknown)
      old.push_back(path);
  }
  for (const auto& path : old)
    fs::remove_all(path, failed);
}

void write_file(const fs::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file)
    throw fs::filesystem_error("writing", path, std::make_error_code(std::errc::io_error));
}

// The files of a context, as its metadata has them.
Json describe_files(const fs::path& context) {
  auto files = Json::object();
  for (const auto& entry : fs::recursive_directory_iterator(context)) {
    if (!entry.is_regular_file())
      continue;
    files[entry.path().lexically_relative(context).generic_string()] = {
        {"size", entry.file_size()}, {"sha256", sha256_file(entry.path())}};
  }
  return files;
}

// A value of what is covered, for a person.
std::string worded(const Json& value) {
  return excerpt(value.is_string() ? value.get<std::string>() : value.dump(), 80);
}

}  // namespace

fs::path ContextFolder::place(const Json& covers) const {
  return folder_ / covers.at("target").get<std::string>() / covers_key(covers);
}

std::optional<fs::path> ContextFolder::find(const Json& covers, std::string& problem) const {
  const auto context = place(covers);
  std::error_code absent;
  if (!fs::exists(context, absent)) {
    problem = differences(covers);
    return std::nullopt;
  }
  try {
    check_context(context, covers);
    return context / model_name;
  } catch (const BundleError& error) {
    problem = context.string() + " is of no use: " + error.what();
    return std::nullopt;
  }
}

std::uint64_t ContextFolder::bytes(const Json& covers) const {
  std::uint64_t sum = 0;
  std::error_code gone;  // another process may replace or prune it meanwhile
  for (fs::recursive_directory_iterator entry(place(covers), gone), end; !gone && entry != end;
       entry.increment(gone)) {
    std::error_code unknown;
    const auto size = entry->is_regular_file(unknown) ? entry->file_size(unknown) : 0;
    if (!unknown)
      sum += size;
  }
  return sum;
}

// Of contexts of the same graph the one that differs least.
std::string ContextFolder::differences(const Json& covers) const {
  std::vector<std::string> fewest;
  std::error_code absent;
  for (fs::directory_iterator entry(place(covers).parent_path(), absent), end;
       !absent && entry != end; entry.increment(absent)) {
    if (entry->path().filename().string().front() == '.')
      continue;
    try {
      const auto other = read_metadata(entry->path()).at("covers");
      if (other.at("graph") != covers.at("graph"))
        continue;
      std::vector<std::string> found;
      for (const auto& [name, value] : covers.items()) {
        if (other.contains(name) && other[name] == value)
          continue;
        const bool shown = other.contains(name) && value.is_string();
        found.push_back(shown ? name + " was " + worded(other[name]) + " and is " + worded(value)
                              : name + " changed");
      }
      if (fewest.empty() || found.size() < fewest.size())
        fewest = std::move(found);
    } catch (const std::exception&) {
      continue;  // no context that could be compared
    }
  }
  return fewest.empty() ? "" : "the one that is there is stale: " + joined(fewest, ", ");
}

ContextDraft::ContextDraft(const ContextFolder& folder, Json covers)
    : covers_(std::move(covers)), place_(folder.place(covers_)), draft_(hidden_beside(place_)) {
  fs::create_directories(place_.parent_path());
  remove_leftovers(place_.parent_path());
  if (!fs::create_directory(draft_))
    throw fs::filesystem_error("creating", draft_, std::make_error_code(std::errc::file_exists));
}

ContextDraft::~ContextDraft() {
  std::error_code failed;
  fs::remove_all(draft_, failed);
}

fs::path ContextDraft::model() const {
  return draft_ / model_name;
}

bool ContextDraft::is_written() const {
  std::error_code absent;
  return fs::is_regular_file(model(), absent);
}

bool ContextDraft::is_kept_soundly() const {
  try {
    check_context(place_, covers_);
    return true;
  } catch (const BundleError&) {
    return false;
  }
}

void ContextDraft::keep(double seconds, bool replaces) {
  const Json document{{"schema", context_schema},
                      {"covers", covers_},
                      {"files", describe_files(draft_)},
                      {"built", {{"by", "fgdm " FGDM_VERSION}, {"seconds", seconds}}}};
  write_file(draft_ / metadata_name, document.dump(1) + "\n");
  // Several processes may do this at once: who is first with a sound one has done it for all.
  for (int attempt = 1;; ++attempt) {
    std::error_code failed;
    fs::rename(draft_, place_, failed);
    if (!failed || (!replaces && is_kept_soundly()))
      return;
    if (attempt == most_attempts)
      throw fs::filesystem_error("renaming", draft_, place_, failed);
    const auto aside = hidden_beside(place_);
    fs::rename(place_, aside, failed);
    fs::remove_all(aside, failed);
    replaces = false;  // what comes there now is another process's
  }
}

}  // namespace fgdm
