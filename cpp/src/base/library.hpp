#pragma once

#include <filesystem>
#include <span>
#include <string>

namespace fgdm {

// Opens the first of these shared libraries that the loader finds, and leaves it open: runtimes
// keep threads and static state of their own. Null if there is none; `problems` then tells why.
void* open_first(std::span<const std::string> names, std::string& problems);

// The same, but throws BackendError with `advice` and what was tried if there is none.
void* open_library(std::span<const std::string> names, const std::string& advice);

// A function of an opened library. Throws BackendError with `complaint` if it has no such.
void* find_symbol(void* library, const char* symbol, const std::string& complaint);

// The folder of the library or program that this code is in, where its companions lie.
std::filesystem::path core_folder();

// The value of an environment variable; empty if it isn't set.
std::string environment(const char* name);

}  // namespace fgdm
