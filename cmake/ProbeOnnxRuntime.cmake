# Checks that the onnxruntime library at hand, if there is one, is laid out as
# cpp/compat/onnxruntime_api.h says, by running cmake/probe_onnxruntime.cc on it. A library that was
# found sound is not probed again.
if(NOT ONNXRUNTIME_LIBRARY OR CMAKE_CROSSCOMPILING)
  return()
endif()

set(_probe ${PROJECT_SOURCE_DIR}/cmake/probe_onnxruntime.cc)
set(_header ${PROJECT_SOURCE_DIR}/cpp/compat/onnxruntime_api.h)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${_probe} ${_header})
file(REAL_PATH ${ONNXRUNTIME_LIBRARY} _library)
file(TIMESTAMP ${_library} _time "%s" UTC)
file(SIZE ${_library} _size)
set(_key "${_library} ${_time} ${_size}")
foreach(_file ${_probe} ${_header} ${CMAKE_CURRENT_LIST_FILE})
  file(SHA256 ${_file} _hash)
  string(APPEND _key " ${_hash}")
endforeach()
string(SHA256 _key "${_key}")
if("${LENET_ONNXRUNTIME_SOUND}" STREQUAL _key)
  return()
endif()

set(_folder ${PROJECT_BINARY_DIR}/probe_onnxruntime)
file(MAKE_DIRECTORY ${_folder})
try_compile(_compiled ${_folder} SOURCES ${_probe}
            CMAKE_FLAGS -DINCLUDE_DIRECTORIES=${PROJECT_SOURCE_DIR}/cpp
            LINK_LIBRARIES ${CMAKE_DL_LIBS}
            OUTPUT_VARIABLE _output COPY_FILE ${_folder}/probe_onnxruntime
            CXX_STANDARD 17 CXX_STANDARD_REQUIRED ON)
set(_was_compiled ${_compiled})
unset(_compiled CACHE)
if(NOT _was_compiled)
  message(FATAL_ERROR "The probe of onnxruntime does not build.\n${_output}")
endif()
execute_process(COMMAND ${_folder}/probe_onnxruntime ${_library} ${_folder}
                RESULT_VARIABLE _result OUTPUT_VARIABLE _output ERROR_QUIET TIMEOUT 60)
if(_result EQUAL 0 AND _output MATCHES "VERSION ([^\n]+)" AND _output MATCHES "SOUND\n$")
  set(LENET_ONNXRUNTIME_SOUND ${_key} CACHE INTERNAL "Key of the onnxruntime last found sound")
  string(REGEX MATCH "VERSION ([^\n]+)" _version "${_output}")
  message(STATUS "onnxruntime ${CMAKE_MATCH_1}'s API is as declared")
else()
  message(FATAL_ERROR "${_library} is not onnxruntime as ${_header} declares it.\nInstall another "
                      "version, correct the declarations, or configure with "
                      "-DLENET_WITH_ONNXRUNTIME=OFF.\nWhat the probe found: ${_output}")
endif()
