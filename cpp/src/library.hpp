#pragma once

#include <filesystem>
#include <span>
#include <string>

namespace fgdm {

// Opens the first of these shared libraries that the loader finds, and leaves it open: runtimes
// keep threads and static state of their own. Null if there is none; `problems` then tells why.
void* open_first(std::span<const std::string> names, std::string& problems);

// The folder of the library or program that this code is in, where its companions lie.
std::filesystem::path core_folder();

// The value of an environment variable; empty if it isn't set.
std::string environment(const char* name);

}  // namespace fgdm
