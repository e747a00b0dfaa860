#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace fgdm {

// A place for compiled contexts, which execution providers make of graphs: FOLDER/<target>/<key>/
// holds context.onnx, what that refers to, and context.json, which says what the key covers and
// what the files hash to. A context is there whole or not at all, and never changed, so processes
// may share the place.
class ContextFolder {
public:
  explicit ContextFolder(std::filesystem::path folder) : folder_(std::move(folder)) {}

  const std::filesystem::path& path() const { return folder_; }

  // The model of the context that covers this, every byte of which has been checked. Nothing if
  // there is none; `problem` then says what is wrong with the one that is there, or in what others
  // of the same graph differ, and is empty where no other is there.
  std::optional<std::filesystem::path> find(const nlohmann::json& covers,
                                            std::string& problem) const;

  // The bytes of all files of that context that are there.
  std::uint64_t bytes(const nlohmann::json& covers) const;

  // Where the context that covers this lies, or would.
  std::filesystem::path place(const nlohmann::json& covers) const;

private:
  std::string differences(const nlohmann::json& covers) const;

  std::filesystem::path folder_;
};

// A context that is being written, in a folder of its own with a name that nobody looks for.
class ContextDraft {
public:
  // Throws std::filesystem::filesystem_error where the folder can't be written. Removes what
  // processes that were killed a day ago or before have left.
  ContextDraft(const ContextFolder& folder, nlohmann::json covers);
  // Removes what wasn't kept.
  ~ContextDraft();
  ContextDraft(const ContextDraft&) = delete;
  ContextDraft& operator=(const ContextDraft&) = delete;

  // What the provider is to write.
  std::filesystem::path model() const;
  bool is_written() const;

  // Puts the context where it is looked for, after so many seconds of work. A sound one that
  // another process was first with stays, unless this one `replaces` it: its provider refuses it.
  // Throws std::filesystem::filesystem_error.
  void keep(double seconds, bool replaces = false);

private:
  bool is_kept_soundly() const;

  nlohmann::json covers_;
  std::filesystem::path place_, draft_;
};

}  // namespace fgdm
