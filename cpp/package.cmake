# cmake --install: the libraries, their headers, and what CMake and pkg-config find them by. Everything
# may be moved together afterwards.
include(CMakePackageConfigHelpers)
set(folder ${CMAKE_INSTALL_LIBDIR}/cmake/fgdm)
foreach(kind shared static)
  set(library fgdm_shared)
  if(kind STREQUAL "static")
    set(library fgdm)
  endif()
  install(TARGETS ${library} EXPORT fgdm_${kind}_targets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT fgdm_runtime
            NAMELINK_COMPONENT fgdm_development
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT fgdm_development)
  install(EXPORT fgdm_${kind}_targets NAMESPACE fgdm:: FILE fgdm-${kind}.cmake
    DESTINATION ${folder} COMPONENT fgdm_development)
endforeach()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/cpp/include/ ${PROJECT_BINARY_DIR}/include/
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT fgdm_development
  FILES_MATCHING PATTERN "*.hpp" PATTERN "*.h")

set(made "${PROJECT_BINARY_DIR}/package")
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/fgdmConfig.cmake.in
  "${made}/fgdmConfig.cmake" INSTALL_DESTINATION ${folder} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${made}/fgdmConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${made}/fgdmConfig.cmake" "${made}/fgdmConfigVersion.cmake"
  DESTINATION ${folder} COMPONENT fgdm_development)

# Paths from fgdm.pc's own folder.
set(folder ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig)
foreach(other LIBDIR INCLUDEDIR)
  file(RELATIVE_PATH PC_${other} ${folder} ${CMAKE_INSTALL_FULL_${other}})
endforeach()
configure_file(${CMAKE_CURRENT_LIST_DIR}/fgdm.pc.in "${made}/fgdm.pc" @ONLY)
install(FILES "${made}/fgdm.pc"
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT fgdm_development)
