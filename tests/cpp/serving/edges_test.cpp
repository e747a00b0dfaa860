// An engine in somebody's process: callbacks that misuse it, the way it closes, a forked child.
#include <sys/wait.h>

#include <atomic>
#include <future>

#include "fgdm/error.hpp"
#include "scheduler_fixture.hpp"

namespace fgdm {
namespace {

using testing::expect_failure;
using testing::fake_graphs;
using testing::scenes;
using testing::small_request;
using testing::submit;
using testing::wait_for;
using namespace std::chrono_literals;

TEST(Edges, ACallbackCannotWaitForItsOwnEngine) {
  auto graphs = fake_graphs(scenes().manifest());
  Scheduler scheduler(scenes(), graphs, {}, {});
  std::atomic<int> refused{0};
  const auto job = submit(scheduler, small_request(1), [&](const StepInfo&) {
    try {
      scheduler.perform([] {});
    } catch (const RequestError&) {
      ++refused;
    }
    return false;
  });
  EXPECT_TRUE(wait_for(*job));
  EXPECT_EQ(refused, 8);
}

TEST(Edges, AJobCanBeSubmittedInACallback) {
  auto graphs = fake_graphs(scenes().manifest());
  Scheduler scheduler(scenes(), graphs, {}, {});
  std::shared_ptr<JobState> second;
  const auto first = submit(scheduler, small_request(1), [&](const StepInfo&) {
    if (!second)
      second = submit(scheduler, small_request(2));
    return false;
  });
  ASSERT_TRUE(wait_for(*first));
  EXPECT_TRUE(wait_for(*second));
}

TEST(Edges, WhatAFunctionOfWhenDoneThrowsKeepsNobodyWaiting) {
  auto graphs = fake_graphs(scenes().manifest());
  Scheduler scheduler(scenes(), graphs, {}, {});
  std::promise<void> told;
  std::shared_ptr<JobState> job;
  scheduler.perform([&] {
    job = submit(scheduler, small_request(1));
    job->when_done.push_back([] { throw std::bad_alloc(); });
    job->when_done.push_back([&] { told.set_value(); });
  });
  EXPECT_EQ(told.get_future().wait_for(60s), std::future_status::ready);
  EXPECT_TRUE(wait_for(*submit(scheduler, small_request(2))));
}

TEST(Edges, AStoppedSchedulerHasAnsweredAndRefuses) {
  auto graphs = fake_graphs(scenes().manifest());
  Scheduler scheduler(scenes(), graphs, {}, {});
  std::vector<std::shared_ptr<JobState>> jobs;
  scheduler.perform([&] {
    for (int i = 0; i < 40; ++i)
      jobs.push_back(submit(scheduler, small_request(static_cast<std::uint64_t>(i))));
  });
  scheduler.stop();
  scheduler.stop();
  for (const auto& job : jobs)
    EXPECT_TRUE(job->done);
  expect_failure<CancelledError>(*jobs.back());
  EXPECT_THROW(submit(scheduler, small_request(1)), RequestError);
  EXPECT_THROW(scheduler.perform([] {}), RequestError);
}

TEST(Edges, AFunctionThatWaitsWhileTheSchedulerStopsIsTold) {
  auto graphs = fake_graphs(scenes().manifest());
  Scheduler scheduler(scenes(), graphs, {}, {});
  std::promise<void> blocked, go_on;
  std::thread first([&] {
    scheduler.perform([&] {
      blocked.set_value();
      go_on.get_future().wait();
    });
  });
  blocked.get_future().wait();
  auto second = std::async(std::launch::async, [&] { scheduler.perform([] {}); });
  std::this_thread::sleep_for(50ms);
  std::thread stopping([&] { scheduler.stop(); });
  std::this_thread::sleep_for(50ms);
  go_on.set_value();
  first.join();
  stopping.join();
  EXPECT_THROW(second.get(), CancelledError);
}

// Nothing of gtest's runs in the child: what it found is its exit status.
TEST(Edges, AForkedChildIsToldWhoseThingsTheseAre) {
  const HomeProcess home;
  home.check("this engine");
  const pid_t child = ::fork();
  if (child == 0) {
    int status = 1;
    try {
      home.check("this engine");
    } catch (const RequestError& error) {
      status = std::string(error.what()).find("open an engine in the child") == std::string::npos;
    }
    ::_exit(status);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace fgdm
