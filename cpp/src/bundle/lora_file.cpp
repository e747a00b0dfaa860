#include "lora_file.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "fgdm/error.hpp"
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

constexpr std::size_t prefix_size = 8;

// The header's text, of which the file's first eight bytes say how long it is (little-endian).
std::string read_header(const FileTree& files, const std::string& name) {
  const auto size = files.size(name);
  if (size < prefix_size)
    refuse_lora("it is no safetensors file");
  const auto prefix = files.read(name, 0, prefix_size);
  std::uint64_t length = 0;
  for (std::size_t i = prefix_size; i-- > 0;)
    length = length << 8U | std::to_integer<std::uint64_t>(prefix.data[i]);
  if (length > most_text)
    refuse_lora("it is no safetensors file");
  if (length > size - prefix_size)
    refuse_lora("its header is incomplete");
  const auto header = files.read(name, prefix_size, length);
  return {reinterpret_cast<const char*>(header.data.data()), header.data.size()};
}

}  // namespace

LoraFile::LoraFile(std::shared_ptr<const FileTree> files, const LoraSpec& spec,
                   const Manifest& manifest)
    : files_(std::move(files)), name_(spec.file) {
  try {
    const auto text = read_header(*files_, name_);
    const auto header = parse_json(text);
    const auto begin = prefix_size + text.size(), end = files_->size(name_);
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
    throw BundleError(files_->place(name_) + ", the LoRA " + spec.name + ": " + error.what());
  }
}

Bytes LoraFile::read(const std::string& role, const char* matrix) const {
  const auto& [offset, size] = matrices_.at(role + "." + matrix);
  return files_->read(name_, offset, size);
}

std::string lora_role(const Manifest& manifest, const std::string& graph) {
  return graph == manifest.text_encoder ? "text_encoder" : "backbone";
}

}  // namespace fgdm
