#include "loras.hpp"

#include <algorithm>
#include <cstring>

namespace fgdm {
namespace {

// Sets of LoRAs that stay put together: those of as many requests as are at work at once by
// default.
constexpr std::size_t most_packs = 16;

// Copies a matrix (rows, rank) into columns of a wider one.
void place(std::span<std::byte> whole, std::size_t whole_row, std::size_t column,
           std::span<const std::byte> part, std::size_t part_row) {
  for (std::size_t from = 0, to = column; from < part.size(); from += part_row, to += whole_row)
    std::memcpy(whole.data() + to, part.data() + from, part_row);
}

}  // namespace

LoraScales factor_loras(const Request& resolved, const Manifest& manifest,
                        const FactorSpec& factor) {
  LoraScales scales;
  for (const auto& lora : manifest.loras) {
    const auto asked = resolved.loras.find(lora.name);
    const bool changes =
        asked != resolved.loras.end() && std::ranges::count(lora.factors, factor.name) > 0;
    scales.push_back(changes ? static_cast<float>(asked->second) : 0.0F);
  }
  return scales;
}

Loras::Loras(const Bundle& bundle, Graphs& graphs) : manifest_(bundle.manifest()), graphs_(graphs) {
  for (const auto& lora : manifest_.loras)
    files_.emplace_back(bundle.files(), lora, manifest_);
}

LoraScales Loras::that_count(const std::string& graph, const LoraScales& scales) const {
  LoraScales counting = scales;
  const auto role = lora_role(manifest_, graph);
  for (std::size_t i = 0; i < counting.size(); ++i)
    if (!files_[i].changes(role))
      counting[i] = 0.0F;
  return std::ranges::all_of(counting, [](float scale) { return scale == 0.0F; }) ? LoraScales{}
                                                                                  : counting;
}

void Loras::add_inputs(const std::string& graph, std::span<const LoraScales* const> rows,
                       std::vector<NamedTensor>& inputs) {
  if (files_.empty() || !manifest_.takes_loras(graph))
    return;
  // A plan is built for the rank of all LoRAs together.
  const bool all = graphs_.backend() == "tensorrt";
  std::vector<std::size_t> members;
  const auto role = lora_role(manifest_, graph);
  for (std::size_t i = 0; i < files_.size(); ++i) {
    const bool is_used = files_[i].changes(role) && std::ranges::any_of(rows, [&](const auto* row) {
                           return i < row->size() && (*row)[i] != 0.0F;
                         });
    if (all || is_used)
      members.push_back(i);
  }
  auto& together = pack(graph, members);
  const auto rank = static_cast<std::size_t>(together.rank);
  if (rows.size() > together.rows) {
    together.scale = RowBuffer(graphs_.device(), DType::float32, {together.rank}, rows.size());
    together.rows = rows.size();
  }
  std::vector<float> scales(rows.size() * rank);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    auto column = scales.begin() + static_cast<std::ptrdiff_t>(row * rank);
    for (const auto member : members)
      column = std::fill_n(column, manifest_.loras[member].rank,
                           member < rows[row]->size() ? (*rows[row])[member] : 0.0F);
  }
  together.scale.write(scales);
  const auto extent = [&](const char* matrix) {
    return static_cast<std::size_t>(manifest_.graph(graph).input(matrix)->shape.front());
  };
  inputs.push_back({lora_down, together.down.view(extent(lora_down))});
  inputs.push_back({lora_up, together.up.view(extent(lora_up))});
  inputs.push_back({lora_scale, together.scale.view(rows.size())});
}

Loras::Pack& Loras::pack(const std::string& graph, const std::vector<std::size_t>& members) {
  auto& packs = packs_[lora_role(manifest_, graph)];
  const auto found = std::ranges::find(packs, members, &Pack::members);
  if (found != packs.end()) {
    packs.splice(packs.begin(), packs, found);
    return packs.front();
  }
  packs.push_front(put_together(graph, members));
  if (packs.size() > most_packs)
    packs.pop_back();
  return packs.front();
}

// Zeros where a LoRA doesn't change the graph's role, and, of rank 1, where there is none.
Loras::Pack Loras::put_together(const std::string& graph,
                                const std::vector<std::size_t>& members) const {
  std::int64_t rank = 0;
  for (const auto member : members)
    rank += manifest_.loras[member].rank;
  Pack made{members, std::max<std::int64_t>(rank, 1), {}, {}, {}, 0};
  const auto role = lora_role(manifest_, graph);
  for (const auto& [name, buffer] :
       {std::pair(lora_down, &made.down), std::pair(lora_up, &made.up)}) {
    const auto& input = *manifest_.graph(graph).input(name);
    const auto rows = static_cast<std::size_t>(input.shape.front());
    const auto bytes = dtype_size(input.dtype),
               whole_row = bytes * static_cast<std::size_t>(made.rank);
    std::vector<std::byte> whole(rows * whole_row);
    std::size_t column = 0;
    for (const auto member : members) {
      const auto part_row = bytes * static_cast<std::size_t>(manifest_.loras[member].rank);
      if (files_[member].changes(role))
        place(whole, whole_row, column, files_[member].read(role, name).data, part_row);
      column += part_row;
    }
    *buffer = RowBuffer(graphs_.device(), input.dtype, {made.rank}, rows);
    buffer->write(whole);
  }
  return made;
}

}  // namespace fgdm
