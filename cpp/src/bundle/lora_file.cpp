#include "lora_file.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>

#include "fgdm/error.hpp"
#include "files.hpp"
#include "json_field.hpp"
#include "wording.hpp"

namespace fgdm {
namespace {

[[noreturn]] void refuse_lora(const std::string& what) {
  throw BundleError(excerpt(what, 500) + "; export the bundle again");
}

using LoraField = JsonField<refuse_lora>;

constexpr std::array<std::pair<DType, std::string_view>, 2> types{
    {{DType::float32, "F32"}, {DType::float16, "F16"}}};

// The header, of which the file's first eight bytes say how long it is (little-endian).
std::string read_header(std::ifstream& file) {
  std::array<unsigned char, 8> prefix{};
  file.read(reinterpret_cast<char*>(prefix.data()), prefix.size());
  std::uint64_t length = 0;
  for (std::size_t i = prefix.size(); i-- > 0;)
    length = length << 8U | prefix[i];
  if (!file || length > most_text)
    refuse_lora("it is no safetensors file");
  std::string header(length, '\0');
  file.read(header.data(), static_cast<std::streamsize>(length));
  if (!file)
    refuse_lora("its header is incomplete");
  return header;
}

}  // namespace

LoraFile::LoraFile(const std::filesystem::path& folder, const LoraSpec& spec,
                   const Manifest& manifest)
    : path_(folder / spec.file) {
  try {
    std::ifstream file(path_, std::ios::binary);
    const auto header = parse_json(read_header(file));
    const auto begin = static_cast<std::uint64_t>(file.tellg());
    const auto end = static_cast<std::uint64_t>(std::filesystem::file_size(path_));
    const LoraField root(header, "");
    for (const auto& [role, graph] : {std::pair("backbone", manifest.backbone),
                                      std::pair("text_encoder", manifest.text_encoder)}) {
      for (const char* matrix : {lora_down, lora_up}) {
        const auto name = std::string(role) + "." + matrix;
        if (!root.has(name))
          continue;
        const auto* input = manifest.graph(graph).input(matrix);
        if (input == nullptr)
          refuse_lora("it has " + name + ", but the graph " + graph + " takes no LoRAs");
        const auto field = root[name];
        const auto type =
            std::ranges::find(types, input->dtype, &std::pair<DType, std::string_view>::first);
        if (type == types.end() || field["dtype"].text() != type->second)
          refuse_lora(name + " is " + field["dtype"].text() + ", expected the graph's " +
                      std::string(dtype_name(input->dtype)));
        const auto shape = field["shape"].items();
        const auto rows = input->shape.front();
        if (shape.size() != 2 || shape[0].integer(1, 1 << 24) != rows ||
            shape[1].integer(1, 65536) != spec.rank)
          refuse_lora(name + " has the shape " + field["shape"].shown() + ", expected [" +
                      std::to_string(rows) + "," + std::to_string(spec.rank) + "]");
        const auto offsets = field["data_offsets"].items();
        const auto size = static_cast<std::uint64_t>(rows * spec.rank) * dtype_size(input->dtype);
        if (offsets.size() != 2)
          refuse_lora(name + " has no data_offsets");
        const auto first = static_cast<std::uint64_t>(offsets[0].integer(0, std::int64_t{1} << 50));
        if (static_cast<std::uint64_t>(offsets[1].integer(0, std::int64_t{1} << 50)) !=
                first + size ||
            begin + first + size > end)
          refuse_lora(name + " lies outside of the file");
        matrices_[name] = {begin + first, size};
      }
      if (matrices_.contains(std::string(role) + "." + lora_down) !=
          matrices_.contains(std::string(role) + "." + lora_up))
        refuse_lora(std::string("it has one matrix of the ") + role + ", expected both");
    }
    if (matrices_.empty())
      refuse_lora("it changes neither the backbone nor the text encoder");
  } catch (const std::exception& error) {
    throw BundleError(path_.string() + ", the LoRA " + spec.name + ": " + error.what());
  }
}

std::vector<std::byte> LoraFile::read(const std::string& role, const char* matrix) const {
  const auto& [offset, size] = matrices_.at(role + "." + matrix);
  std::vector<std::byte> numbers(size);
  std::ifstream file(path_, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  file.read(reinterpret_cast<char*>(numbers.data()), static_cast<std::streamsize>(size));
  if (!file)
    throw BundleError(path_.string() + " can't be read any more; fetch a fresh copy of the bundle");
  return numbers;
}

std::string lora_role(const Manifest& manifest, const std::string& graph) {
  return graph == manifest.text_encoder ? "text_encoder" : "backbone";
}

}  // namespace fgdm
