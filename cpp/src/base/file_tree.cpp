#include "file_tree.hpp"

#include <algorithm>
#include <utility>

#include "fgdm/error.hpp"
#include "fgdm/sha256.hpp"
#include "wording.hpp"
#include "zip.hpp"

namespace fgdm {
namespace {

namespace fs = std::filesystem;

class Folder final : public FileTree {
public:
  explicit Folder(fs::path folder) : folder_(std::move(folder)) {}

  // A link that leads nowhere is there: to read it is an error.
  bool has(const std::string& name) const override {
    std::error_code unknown;
    return fs::symlink_status(path(name), unknown).type() != fs::file_type::not_found;
  }

  std::vector<std::string> list(const std::string& folder) const override {
    std::vector<std::string> names;
    std::error_code absent;
    for (const auto& entry : fs::directory_iterator(path(folder), absent))
      names.push_back(folder + "/" + entry.path().filename().string());
    std::ranges::sort(names);
    return names;
  }

  std::uint64_t size(const std::string& name) const override {
    std::error_code problem;
    if (fs::exists(path(name), problem) && !fs::is_regular_file(path(name), problem))
      throw BundleError(excerpt(place(name), 300) + " is no regular file" + remedy());
    const auto size = fs::file_size(path(name), problem);
    if (problem)
      throw BundleError(excerpt(place(name), 300) + " is missing" + remedy());
    return size;
  }

  Bytes read(const std::string& name, std::uint64_t offset, std::uint64_t size) const override {
    auto bytes =
        std::make_shared<const std::vector<std::byte>>(read_part(path(name), offset, size));
    return {*bytes, bytes};
  }

  std::string sha256(const std::string& name) const override { return sha256_file(path(name)); }
  std::string place(const std::string& name) const override { return path(name).string(); }
  const char* remedy() const override {
    return "; export the bundle again, or fetch a fresh copy of it";
  }
  fs::path path(const std::string& name) const override { return folder_ / name; }

private:
  fs::path folder_;
};

class Archive final : public FileTree {
public:
  // `name` is that of the archive, with what belongs between it and a file's.
  Archive(Bytes bytes, std::string name, bool mapped)
      : bytes_(std::move(bytes)), name_(std::move(name)), mapped_(mapped),
        members_(read_zip(bytes_.data)) {}

  bool has(const std::string& name) const override { return members_.contains(name); }

  std::vector<std::string> list(const std::string& folder) const override {
    const auto inside = folder + "/";
    std::vector<std::string> names;
    for (auto member = members_.lower_bound(inside);
         member != members_.end() && member->first.starts_with(inside); ++member)
      if (member->first.find('/', inside.size()) == std::string::npos)
        names.push_back(member->first);
    return names;
  }

  std::uint64_t size(const std::string& name) const override { return member(name).size; }

  Bytes read(const std::string& name, std::uint64_t offset, std::uint64_t size) const override {
    const auto& found = member(name);
    if (offset > found.size || size > found.size - offset)
      throw BundleError(place(name) + " ends before byte " + std::to_string(offset) + " + " +
                        std::to_string(size) + remedy());
    return {
        content(found).subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(size)),
        bytes_.owner};
  }

  std::string sha256(const std::string& name) const override {
    constexpr std::size_t most = std::size_t{1} << 20U;
    Sha256 hash;
    for (auto rest = content(member(name)); !rest.empty();) {
      const auto piece = rest.first(std::min(rest.size(), most));
      hash.update(piece);
      if (mapped_)  // most of the pages aren't looked at again
        let_go(piece);
      rest = rest.subspan(piece.size());
    }
    return hash.hex();
  }

  std::string place(const std::string& name) const override { return name_ + name; }
  const char* remedy() const override {
    return "; fetch a fresh copy of the archive, or pack the bundle again with fgdm pack";
  }
  fs::path path(const std::string&) const override { return {}; }

private:
  const ZipMember& member(const std::string& name) const {
    const auto found = members_.find(name);
    if (found == members_.end())
      throw BundleError(excerpt(place(name), 300) + " is missing" + remedy());
    return found->second;
  }

  std::span<const std::byte> content(const ZipMember& member) const {
    return bytes_.data.subspan(static_cast<std::size_t>(member.offset),
                               static_cast<std::size_t>(member.size));
  }

  Bytes bytes_;
  std::string name_;
  bool mapped_;
  std::map<std::string, ZipMember, std::less<>> members_;
};

std::shared_ptr<const FileTree> archive_called(const std::string& called, Bytes bytes,
                                               std::string name, bool mapped) {
  try {
    return std::make_shared<const Archive>(std::move(bytes), std::move(name), mapped);
  } catch (const BundleError& error) {
    throw BundleError(excerpt(called, 300) + " can't be used: " + error.what() +
                      "; fetch a fresh copy of it, or pack the bundle again with fgdm pack");
  }
}

}  // namespace

std::string read_text(const FileTree& files, const std::string& name, std::size_t most) {
  if (const auto path = files.path(name); !path.empty())
    return read_file(path, most);
  const auto size = files.size(name);
  if (size > most)
    throw BundleError(files.place(name) + " has " + std::to_string(size) +
                      " bytes, expected at most " + std::to_string(most) + files.remedy());
  const auto bytes = files.read(name, 0, size);
  return {reinterpret_cast<const char*>(bytes.data.data()), bytes.data.size()};
}

std::shared_ptr<const FileTree> folder_tree(const fs::path& folder) {
  return std::make_shared<const Folder>(folder);
}

std::shared_ptr<const FileTree> archive_tree(const fs::path& file) {
  return archive_called(file.string(), map_file(file), file.string() + "/", true);
}

std::shared_ptr<const FileTree> archive_tree(Bytes archive) {
  if (!archive.data.empty() &&
      reinterpret_cast<std::uintptr_t>(archive.data.data()) % memory_alignment != 0)
    throw RequestError("the archive in memory begins at an address that is no multiple of " +
                       std::to_string(memory_alignment) +
                       "; give the whole block that malloc or mmap gave, or align it");
  return archive_called("the archive in memory", std::move(archive), "the archive in memory, ",
                        false);
}

TreeFolder find_folder(const fs::path& path) {
  std::error_code unknown;
  for (auto file = path; file.has_relative_path(); file = file.parent_path())
    if (fs::is_regular_file(file, unknown))
      return {archive_tree(file),
              file == path ? "" : path.lexically_relative(file).generic_string()};
  return {folder_tree(path), ""};
}

bool is_inner_name(std::string_view name) {
  for (std::size_t begin = 0; begin <= name.size();) {
    const auto end = std::min(name.find('/', begin), name.size());
    const auto part = name.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..")
      return false;
    begin = end + 1;
  }
  return true;
}

}  // namespace fgdm
