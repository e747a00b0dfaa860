#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fgdm/bytes.hpp"
#include "files.hpp"

namespace fgdm {

// A bundle's files by their names, wherever they are: in a folder, or in an archive on the disk or
// in memory. Names have '/' between their parts.
class FileTree {
public:
  virtual ~FileTree() = default;

  // Whether there is anything of that name.
  virtual bool has(const std::string& name) const = 0;

  // The names of what lies in a folder itself, sorted; none where there is no such folder.
  virtual std::vector<std::string> list(const std::string& folder) const = 0;

  // A file's bytes. Throws BundleError where it is missing or no regular file.
  virtual std::uint64_t size(const std::string& name) const = 0;

  // `size` bytes of a file, from byte `offset` on: of an archive where they lie, of a folder's file
  // a copy. Throws BundleError, also where the file ends before.
  virtual Bytes read(const std::string& name, std::uint64_t offset, std::uint64_t size) const = 0;

  // The SHA-256 of a file as Sha256::hex(). Throws BundleError.
  virtual std::string sha256(const std::string& name) const = 0;

  // Where a file is, in words for a message.
  virtual std::string place(const std::string& name) const = 0;

  // What to do about a file that is missing or damaged, as the end of a message.
  virtual const char* remedy() const = 0;

  // The path of a file that lies on the disk by itself; empty of one in an archive.
  virtual std::filesystem::path path(const std::string& name) const = 0;
};

// A whole file of at most so many bytes. Throws BundleError.
std::string read_text(const FileTree& files, const std::string& name, std::size_t most = most_text);

// The files of a folder, which need not be there yet.
std::shared_ptr<const FileTree> folder_tree(const std::filesystem::path& folder);

// The members of an archive as read_zip takes it. A file's is mapped. That in memory is used where
// it lies, kept by its owner, and begins at a multiple of memory_alignment (RequestError): numbers
// in it are used as they are. Throws BundleError for what is no such archive.
std::shared_ptr<const FileTree> archive_tree(const std::filesystem::path& file);
std::shared_ptr<const FileTree> archive_tree(Bytes archive);
inline constexpr std::size_t memory_alignment = 16;

// A folder of a tree.
struct TreeFolder {
  std::shared_ptr<const FileTree> files;
  std::string name;  // "": the tree itself

  std::string inner(const std::string& file) const {
    return name.empty() ? file : name + "/" + file;
  }
};

// What a path leads to: a folder, or one in an archive, such as scenes.fgdm/tokenizer.
TreeFolder find_folder(const std::filesystem::path& path);

// Whether a name stays inside its tree and is in its shortest form: parts with '/' in between, none
// of them empty, "." or "..".
bool is_inner_name(std::string_view name);

}  // namespace fgdm
