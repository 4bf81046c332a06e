# Finds the Paddle Inference library and provides Paddle::Inference.
#
# PADDLE_INFERENCE_DIR names a folder laid out as the official archive. When it is not set, the
# folder is third_party/paddle_inference if it is there, else one assembled in the build tree from
# the paddlepaddle wheel of the Python that CMake finds (scripts/fetch_paddle_inference.py).
#
# Sets PADDLE_SONAME, PADDLE_VERSION, PADDLE_RUNTIME_DIRS.
include(FindPackageHandleStandardArgs)

set(_dir "${PADDLE_INFERENCE_DIR}")
if(NOT _dir)
  set(_dir ${PROJECT_SOURCE_DIR}/third_party/paddle_inference)
  if(NOT EXISTS ${_dir}/paddle/lib/libpaddle_inference.so)
    set(_dir ${PROJECT_BINARY_DIR}/paddle_inference)
    find_package(Python3 REQUIRED COMPONENTS Interpreter)
    execute_process(
      COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/scripts/fetch_paddle_inference.py
              --output-dir ${_dir}
      RESULT_VARIABLE _failed ERROR_VARIABLE _error OUTPUT_QUIET)
    if(_failed)
      message(FATAL_ERROR "No Paddle Inference library: ${_error}"
                          "Run ./run.sh, or pass -DPADDLE_INFERENCE_DIR=/path/to/paddle_inference")
    endif()
  endif()
endif()
get_filename_component(_dir ${_dir} ABSOLUTE)

set(PADDLE_LIBRARY ${_dir}/paddle/lib/libpaddle_inference.so)
set(PADDLE_INCLUDE_DIR ${_dir}/paddle/include)
if(NOT EXISTS ${PADDLE_LIBRARY} OR NOT EXISTS ${PADDLE_INCLUDE_DIR}/paddle_inference_api.h)
  message(FATAL_ERROR "${_dir} is not a Paddle Inference library: it needs "
                      "paddle/lib/libpaddle_inference.so and paddle/include/paddle_inference_api.h")
endif()

file(STRINGS ${_dir}/version.txt _lines REGEX "[Pp]addle [Vv]ersion:|PADDLE_VERSION:")
if(_lines MATCHES "([0-9]+\\.[0-9]+(\\.[0-9]+)?)")
  set(PADDLE_VERSION ${CMAKE_MATCH_1})
endif()
if(NOT PADDLE_VERSION VERSION_GREATER_EQUAL PADDLE_MIN OR NOT PADDLE_VERSION VERSION_LESS PADDLE_END)
  message(FATAL_ERROR "${_dir} is Paddle '${PADDLE_VERSION}'; supported: ${PADDLE_RANGE}")
endif()

file(STRINGS ${_dir}/version.txt _cuda REGEX "WITH_GPU: ON|CUDA version:")
if(_cuda)
  string(REPLACE ";" ", " _cuda "${_cuda}")
  message(STATUS "Paddle Inference ${PADDLE_VERSION} computes on GPUs (${_cuda}): docs/gpu.md")
endif()

execute_process(COMMAND readelf -d ${PADDLE_LIBRARY} OUTPUT_VARIABLE _dynamic ERROR_QUIET)
if(NOT _dynamic MATCHES "Library soname: \\[([^]]+)\\]")
  message(FATAL_ERROR "${PADDLE_LIBRARY} is not a shared library")
endif()
set(PADDLE_SONAME ${CMAKE_MATCH_1})

# The wheel keeps the libraries that libpaddle needs in paddle/libs, the archive in third_party.
file(GLOB _archive_dirs ${_dir}/third_party/install/*/lib)
set(PADDLE_RUNTIME_DIRS ${_dir}/paddle/lib)
foreach(_candidate ${_dir}/paddle/libs ${_archive_dirs})
  if(EXISTS ${_candidate})
    list(APPEND PADDLE_RUNTIME_DIRS ${_candidate})
  endif()
endforeach()
find_library(PADDLE_PHI_LIBRARY NAMES phi_core phi PATHS ${PADDLE_RUNTIME_DIRS} NO_DEFAULT_PATH NO_CACHE)

find_package_handle_standard_args(PaddleInference REQUIRED_VARS PADDLE_LIBRARY PADDLE_INCLUDE_DIR
                                  VERSION_VAR PADDLE_VERSION)

if(NOT TARGET Paddle::Inference)
  add_library(Paddle::Inference INTERFACE IMPORTED)
  target_include_directories(Paddle::Inference SYSTEM INTERFACE ${PADDLE_INCLUDE_DIR})
  list(JOIN PADDLE_RUNTIME_DIRS ":" _runtime_path)
  # --no-as-needed: linkers of distributions drop libpaddle otherwise, and with it every symbol.
  target_link_options(Paddle::Inference INTERFACE -Wl,--no-as-needed -Wl,-rpath-link,${_runtime_path}
                      -Wl,--allow-shlib-undefined)
  target_link_libraries(Paddle::Inference INTERFACE ${PADDLE_LIBRARY} ${PADDLE_PHI_LIBRARY})
endif()
message(STATUS "Paddle Inference ${PADDLE_VERSION} (${PADDLE_SONAME}) in ${_dir}")
