# Fails unless LIBRARY exports names of fgdm, and no others: cmake -D NM=... -D LIBRARY=... -P exports.cmake
execute_process(COMMAND ${NM} -D --defined-only --format=posix ${LIBRARY}
                OUTPUT_VARIABLE listed COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^\n]+" symbols "${listed}")
list(TRANSFORM symbols REPLACE " .*" "")
list(LENGTH symbols count)
set(foreign ${symbols})
list(FILTER foreign EXCLUDE REGEX "^(fgdm_|RegisterCustomOps$|_ZN4fgdm|_ZNK4fgdm|_ZT[ISV]N4fgdm)")
foreach(wanted _ZN4fgdm6Engine5closeEv _ZTIN4fgdm12RequestErrorE RegisterCustomOps)
  if(NOT wanted IN_LIST symbols)
    message(FATAL_ERROR "${LIBRARY} doesn't export ${wanted}")
  endif()
endforeach()
# A room's own function: it isn't marked, so it stays inside.
list(FILTER symbols INCLUDE REGEX "core_folder|open_library|parse_json|nlohmann")
if(foreign OR symbols)
  message(FATAL_ERROR "${LIBRARY} exports what isn't marked FGDM_API: ${foreign} ${symbols}")
endif()
message(STATUS "${count} symbols")
