# Checks that the Paddle library at hand is laid out as cpp/compat/paddle_inference_api.h says, by
# running cmake/probe_paddle_abi.cc on it: a Paddle that moved stops the configuring here, and does
# not crash a program later. A library that was found sound is not probed again.
#
# The archive brings its own headers: nothing to check.
if(NOT PADDLE_SONAME STREQUAL "libpaddle.so" OR CMAKE_CROSSCOMPILING)
  return()
endif()

set(_probe ${PROJECT_SOURCE_DIR}/cmake/probe_paddle_abi.cc)
set(_header ${PADDLE_INCLUDE_DIR}/paddle_inference_api.h)
set(_generator ${PROJECT_SOURCE_DIR}/cmake/GeneratePythonStubs.cmake)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${_probe} ${_header})

set(_key "${CMAKE_CXX_COMPILER} ${CMAKE_CXX_COMPILER_VERSION} ${CMAKE_CXX_FLAGS} ${CMAKE_BUILD_TYPE}  ${PADDLE_VERSION}")
foreach(_file ${_probe} ${_header} ${_generator} ${CMAKE_CURRENT_LIST_FILE})
  file(SHA256 ${_file} _hash)
  string(APPEND _key " ${_hash}")
endforeach()
file(REAL_PATH ${PADDLE_LIBRARY} _library)
file(TIMESTAMP ${_library} _time "%s" UTC)
file(SIZE ${_library} _size)
string(APPEND _key " ${_library} ${_time} ${_size}")
set(_model ${PROJECT_SOURCE_DIR}/python/lenet_cpp/bundled/lenet/lenet)
set(_model_files)
if(EXISTS ${_model}.pdmodel AND EXISTS ${_model}.pdiparams)
  set(_model_files ${_model}.pdmodel ${_model}.pdiparams)
endif()
string(SHA256 _key "${_key} ${_model_files}")
if("${LENET_PADDLE_ABI_SOUND}" STREQUAL _key)
  return()
endif()

set(_folder ${PROJECT_BINARY_DIR}/probe_paddle_abi)
set(_remedy "This Paddle is not laid out as ${_header} declares.\n"
            "Install one of the versions that are (paddlepaddle${PADDLE_RANGE}), correct the "
            "declarations, or build against the official archive, which has its own headers "
            "(-DPADDLE_INFERENCE_DIR=).")
set(_stubs ${_folder}/python_stubs.c)
execute_process(COMMAND ${CMAKE_COMMAND} -DNM=${CMAKE_NM} -DLIBRARY=${PADDLE_LIBRARY}
                        -DOUTPUT=${_stubs} -P ${_generator}
                RESULT_VARIABLE _failed ERROR_VARIABLE _output)
if(_failed)
  message(FATAL_ERROR "${_output}")
endif()
set(_rpaths)
foreach(_runtime_dir ${PADDLE_RUNTIME_DIRS})
  list(APPEND _rpaths -Wl,-rpath,${_runtime_dir})
endforeach()
# As the plug-in is compiled: what is inlined differs between build types.
set(CMAKE_TRY_COMPILE_CONFIGURATION ${CMAKE_BUILD_TYPE})
# DT_RPATH, which also serves the libraries that libpaddle needs.
try_compile(_compiled ${_folder} SOURCES ${_probe} ${_stubs}
            LINK_OPTIONS ${_rpaths} -Wl,--disable-new-dtags
            LINK_LIBRARIES Paddle::Inference
            OUTPUT_VARIABLE _output COPY_FILE ${_folder}/probe_paddle_abi
            CXX_STANDARD 17 CXX_STANDARD_REQUIRED ON)
set(_was_compiled ${_compiled})
unset(_compiled CACHE)
unset(CMAKE_TRY_COMPILE_CONFIGURATION)
if(NOT _was_compiled)
  message(FATAL_ERROR "Paddle ${PADDLE_VERSION} (${_library}): the ABI probe does not build.\n"
                      ${_remedy} "\n${_output}")
endif()

execute_process(COMMAND ${_folder}/probe_paddle_abi ${_model_files}
                RESULT_VARIABLE _result OUTPUT_VARIABLE _output ERROR_QUIET TIMEOUT 60)
if(NOT _result EQUAL 0 OR NOT _output MATCHES "SOUND\n$")
  if(_output MATCHES "MOVED: ([^\n]+)")
    set(_reason ${CMAKE_MATCH_1})
  else()
    string(REGEX REPLACE "^.*checking ([^\n]+)\n.*$" "\\1" _reason "${_output}")
    set(_reason "the probe ends (${_result}) while checking ${_reason}")
  endif()
  message(FATAL_ERROR "Paddle ${PADDLE_VERSION} (${_library}): ${_reason}.\n"
                      ${_remedy} "\nWhat it measured: ${_output}")
endif()
string(REGEX MATCH "VERSION ([^\n]+)" _version "${_output}")
if(NOT CMAKE_MATCH_1 VERSION_GREATER_EQUAL PADDLE_MIN OR NOT CMAKE_MATCH_1 VERSION_LESS PADDLE_END
   OR NOT CMAKE_MATCH_1 VERSION_EQUAL PADDLE_VERSION)
  message(FATAL_ERROR "${_library} is Paddle '${CMAKE_MATCH_1}', its folder says ${PADDLE_VERSION}; "
                      "supported: ${PADDLE_RANGE}. Assemble third_party/paddle_inference again: "
                      "scripts/fetch_paddle_inference.py")
endif()

if(_model_files)
  set(LENET_PADDLE_ABI_SOUND ${_key} CACHE INTERNAL "Key of the Paddle library last found sound")
  message(STATUS "Paddle's ABI is as declared")
else()
  message(WARNING "${_model}.pdmodel is missing: of Paddle's ABI only the size of AnalysisConfig "
                  "and the version were checked")
endif()
