#pragma once

// The kernel of fgdm_decode_labels for one thread of a block; `Thread` as in segfree_attention.hpp.
//
// Each block builds, in shared memory, the set of near classes of every level of every channel;
// for a pixel three sets are intersected, and only the few colours left are measured. Blocks count
// in shared memory and add to the map's areas; the last block of a map reads them all and writes
// the recall.

#include "label_rules.hpp"

namespace fgdm::kernels {

struct LabelsPointers {
  const unsigned char* palette;
  const unsigned char* requested;
  unsigned char* labels;
  int* areas;
  fgdm_map_recall* recall;
};

struct LabelsArguments : LabelsPointers {
  int pixels;  // of a map
  int classes;
  int tolerance;
  int least_pixels;
  int blocks_per_map;
  bool box;
};

inline constexpr int label_warps = 8;
inline constexpr int pixels_per_thread = 4;

// Near sets, then counts, then a flag.
FGDM_HOST_DEVICE constexpr int labels_shared_bytes(int classes) {
  return 4 * (3 * class_words(classes) * color_levels + color_levels + 4);
}

// Grid: (parts of a map, maps). `Pixels` is (channel, pixel) -> float of this block's map.
template <class Thread, class Pixels> struct LabelsThread {
  Thread& thread;
  const LabelsArguments& arguments;
  Pixels pixel_value;

  FGDM_HOST_DEVICE void run() {
    prepare();
    thread.sync_block();
    const int parts = arguments.blocks_per_map * threads() * pixels_per_thread;
    for (int first = (static_cast<int>(thread.block().x) * threads() + index()) * pixels_per_thread;
         first < arguments.pixels; first += parts)
      label_run(first);
    thread.sync_block();
    add_areas();
    finish();
  }

private:
  FGDM_HOST_DEVICE int index() const { return 32 * thread.warp() + thread.lane(); }
  FGDM_HOST_DEVICE int threads() const { return 32 * thread.warps(); }
  FGDM_HOST_DEVICE int words() const { return class_words(arguments.classes); }
  FGDM_HOST_DEVICE std::int64_t map() const { return thread.block().y; }

  FGDM_HOST_DEVICE std::uint32_t* near_sets() const {
    return reinterpret_cast<std::uint32_t*>(thread.shared());
  }
  FGDM_HOST_DEVICE int* counts() const {
    return reinterpret_cast<int*>(near_sets() + 3 * words() * color_levels);
  }

  FGDM_HOST_DEVICE void prepare() {
    for (int i = index(); i < 3 * words() * color_levels; i += threads()) {
      const int level = i % color_levels;
      const int word = i / color_levels % words();
      near_sets()[i] = near_classes(arguments.palette, arguments.classes,
                                    i / color_levels / words(), level, arguments.tolerance, word);
    }
    for (int i = index(); i < color_levels; i += threads())
      counts()[i] = 0;
  }

  FGDM_HOST_DEVICE int label(int pixel) {
    int levels[3];
    for (int channel = 0; channel < 3; ++channel)
      levels[channel] = color_level(thread, pixel_value(channel, pixel));
    std::uint32_t best = 256U << 18U | unlabeled_class;  // further than any colour
    int last = unlabeled_class;
    for (int word = 0; word < words(); ++word) {
      std::uint32_t near = 0xFFFFFFFFU;
      for (int channel = 0; channel < 3; ++channel)
        near &= near_sets()[(channel * words() + word) * color_levels + levels[channel]];
      for (; near != 0; near &= near - 1) {
        const int found = classes_per_word * word + thread.lowest_bit(near);
        const std::uint32_t distance = color_distance(levels, arguments.palette + 3 * found, found);
        best = distance < best ? distance : best;
        last = found;
      }
    }
    return arguments.box ? last : static_cast<int>(best & 0xFFU);
  }

  // Neighbours mostly have one label: one addition counts them all.
  FGDM_HOST_DEVICE void label_run(int first) {
    int run_label = -1;
    int run_length = 0;
    for (int i = 0; i < pixels_per_thread && first + i < arguments.pixels; ++i) {
      const int found = label(first + i);
      arguments.labels[map() * arguments.pixels + first + i] = static_cast<unsigned char>(found);
      if (found != run_label && run_length > 0) {
        thread.atomic_add(counts() + run_label, run_length);
        run_length = 0;
      }
      run_label = found;
      ++run_length;
    }
    thread.atomic_add(counts() + run_label, run_length);
  }

  FGDM_HOST_DEVICE void add_areas() {
    for (int i = index(); i < arguments.classes; i += threads())
      if (counts()[i] > 0)
        thread.atomic_add(arguments.areas + map() * arguments.classes + i, counts()[i]);
    thread.fence();
    thread.sync_block();
  }

  FGDM_HOST_DEVICE void finish() {
    fgdm_map_recall& result = arguments.recall[map()];
    int* last_block = counts() + color_levels;
    if (index() == 0)
      *last_block = thread.atomic_add(&result.blocks, 1) == arguments.blocks_per_map - 1 ? 1 : 0;
    thread.sync_block();
    if (*last_block == 0 || index() != 0)
      return;
    thread.fence();
    int requested = 0;
    int found = 0;
    int smallest = 0;
    for (int i = 0; i < arguments.classes; ++i) {
      if (arguments.requested[map() * arguments.classes + i] == 0)
        continue;
      ++requested;
      // An atomic read: other blocks have added to it.
      const int area = thread.atomic_add(arguments.areas + map() * arguments.classes + i, 0);
      if (area < arguments.least_pixels)
        continue;
      smallest = found == 0 || area < smallest ? area : smallest;
      ++found;
    }
    result.requested = requested;
    result.found = found;
    result.smallest_area = smallest;
  }
};

}  // namespace fgdm::kernels
