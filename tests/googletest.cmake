# GoogleTest: the one that is installed, else built from the source that distributions ship. Nothing is
# downloaded.
set(FGDM_GOOGLETEST "/usr/src/googletest" CACHE PATH "GoogleTest's source, where it isn't installed")
find_package(GTest QUIET)
if(NOT GTest_FOUND)
  if(NOT EXISTS "${FGDM_GOOGLETEST}/CMakeLists.txt")
    message(FATAL_ERROR "GoogleTest was not found: install it (Debian, Ubuntu: apt install "
                        "libgtest-dev), or name its source with -DFGDM_GOOGLETEST=FOLDER")
  endif()
  set(INSTALL_GTEST OFF)
  set(BUILD_GMOCK OFF)
  add_subdirectory("${FGDM_GOOGLETEST}" googletest EXCLUDE_FROM_ALL)
endif()
include(GoogleTest)
