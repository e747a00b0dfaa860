#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "fgdm/engine.hpp"
#include "fgdm/fgdm.h"
#include "fgdm/json.hpp"

struct fgdm_engine {
  std::unique_ptr<fgdm::Engine> engine;
  std::shared_ptr<const fgdm::EngineInfo> info;  // also of its jobs, which may outlive it
  std::string info_json;
};

struct fgdm_job {
  fgdm::Job job;
  std::shared_ptr<const fgdm::EngineInfo> info;
  std::once_flag written;
  std::string json;
};
