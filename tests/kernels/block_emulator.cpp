#include "block_emulator.hpp"

#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <numeric>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace fgdm::kernels::test {

namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr std::size_t stack_bytes = std::size_t{512} << 10U;
#else
constexpr std::size_t stack_bytes = std::size_t{128} << 10U;
#endif

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "emulated kernel: %s\n", what);
  std::abort();
}

// AddressSanitizer must know which stack is in use.
void before_switch([[maybe_unused]] void** save, [[maybe_unused]] const void* stack,
                   [[maybe_unused]] std::size_t size) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(save, stack, size);
#endif
}

void after_switch([[maybe_unused]] void* saved, [[maybe_unused]] const void** stack,
                  [[maybe_unused]] std::size_t* size) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(saved, stack, size);
#endif
}

// A function that can stop half-way and be gone on with.
class Fibre {
public:
  explicit Fibre(std::function<void(const std::function<void()>&)> body)
      : body_(std::move(body)),
        stack_(std::make_unique_for_overwrite<unsigned char[]>(stack_bytes)) {
    getcontext(&own_);
    own_.uc_stack.ss_sp = stack_.get();
    own_.uc_stack.ss_size = stack_bytes;
    own_.uc_link = nullptr;
    const auto address = reinterpret_cast<std::uintptr_t>(this);
    makecontext(&own_, reinterpret_cast<void (*)()>(&Fibre::start), 2,
                static_cast<unsigned>(address >> 32U), static_cast<unsigned>(address));
  }
  Fibre(const Fibre&) = delete;

  // Runs until the body stops or ends.
  void resume() {
    void* saved = nullptr;
    before_switch(&saved, stack_.get(), stack_bytes);
    swapcontext(&caller_, &own_);
    after_switch(saved, nullptr, nullptr);
  }

  bool ended() const { return ended_; }

private:
  static void start(unsigned high, unsigned low) {
    auto* fibre = reinterpret_cast<Fibre*>(std::uintptr_t{high} << 32U | low);
    after_switch(nullptr, &fibre->caller_stack_, &fibre->caller_stack_size_);
    fibre->body_([fibre] { fibre->stop(); });
    fibre->ended_ = true;
    before_switch(nullptr, fibre->caller_stack_, fibre->caller_stack_size_);
    swapcontext(&fibre->own_, &fibre->caller_);
  }

  void stop() {
    void* saved = nullptr;
    before_switch(&saved, caller_stack_, caller_stack_size_);
    swapcontext(&own_, &caller_);
    after_switch(saved, &caller_stack_, &caller_stack_size_);
  }

  std::function<void(const std::function<void()>&)> body_;
  std::unique_ptr<unsigned char[]> stack_;
  ucontext_t own_{};
  ucontext_t caller_{};
  const void* caller_stack_ = nullptr;
  std::size_t caller_stack_size_ = 0;
  bool ended_ = false;
};

long meetings = 0;  // arrivals so far: progress

void run_block(Block& block, std::mt19937& random,
               const std::function<void(EmulatedThread&)>& kernel) {
  std::vector<std::unique_ptr<Fibre>> threads;
  for (int i = 0; i < block.warps * lanes; ++i)
    threads.push_back(
        std::make_unique<Fibre>([&block, &kernel, i](const std::function<void()>& yield) {
          EmulatedThread thread(block, i, yield);
          kernel(thread);
          if (!thread.done())
            fail("a thread ends with copies that it never waited for");
        }));
  // One warp runs as far as it can get before the next one does: whatever a barrier doesn't keep
  // apart happens too early or too late.
  std::vector<std::size_t> warps(static_cast<std::size_t>(block.warps));
  std::iota(warps.begin(), warps.end(), std::size_t{0});
  std::vector<std::size_t> order(lanes);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::size_t running = threads.size();
  const auto progress = [&] { return std::pair{meetings, running}; };
  while (running > 0) {
    std::shuffle(warps.begin(), warps.end(), random);
    const auto before_round = progress();
    for (const std::size_t warp : warps)
      for (auto before = std::pair{-1L, running}; before != progress();) {
        before = progress();
        std::shuffle(order.begin(), order.end(), random);
        for (const std::size_t lane : order)
          if (Fibre& thread = *threads[warp * lanes + lane]; !thread.ended()) {
            thread.resume();
            running -= thread.ended() ? 1 : 0;
          }
      }
    if (progress() == before_round)
      fail("threads wait for others that never come");
  }
}

}  // namespace

void Meeting::meet(Operation operation, const std::function<void()>& yield) {
  ++meetings;
  if (arrived_ == 0)
    operation_ = operation;
  else if (operation_ != operation)
    fail("threads of a warp meet at different operations");
  const int phase = phase_;
  if (++arrived_ == size_) {
    arrived_ = 0;
    ++phase_;
  } else {
    while (phase_ == phase)
      yield();
  }
}

void emulate(const Launch& launch, const std::function<void(EmulatedThread&)>& kernel) {
  std::mt19937 random(launch.seed);
  const auto units = static_cast<std::size_t>(launch.shared_bytes + 15) / sizeof(Vector16);
  constexpr std::uint32_t not_a_number = 0xFFFFFFFF;
  for (unsigned z = 0; z < launch.grid.z; ++z)
    for (unsigned y = 0; y < launch.grid.y; ++y)
      for (unsigned x = 0; x < launch.grid.x; ++x) {
        Block block{{x, y, z},
                    launch.warps,
                    std::vector<Vector16>(
                        units, {{not_a_number, not_a_number, not_a_number, not_a_number}}),
                    Meeting(launch.warps * lanes),
                    std::vector<Warp>(static_cast<std::size_t>(launch.warps))};
        run_block(block, random, kernel);
      }
}

}  // namespace fgdm::kernels::test
