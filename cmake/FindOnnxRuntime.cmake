# onnxruntime, for the engine of that name. The engine links nothing of it: its library is opened
# when a predictor first needs it, so that it may be installed later than lenet.
#
# LENET_WITH_ONNXRUNTIME: AUTO (with the engine, whether the library is there or not), ON (the
# library is required), OFF. ONNXRUNTIME_DIR: a folder laid out as the official archive. When it is
# not set: what the system has (Debian: libonnxruntime-dev), then the onnxruntime package of the
# Python that CMake finds.
#
# Sets LENET_HAS_ONNXRUNTIME, ONNXRUNTIME_LIBRARY_DIR (where to look for the library at run time),
# ONNXRUNTIME_LIBRARY (the file, when it is there), ONNXRUNTIME_INCLUDE_DIR (likewise).
set(LENET_WITH_ONNXRUNTIME AUTO CACHE STRING "The onnxruntime engine, for .onnx models: AUTO, ON or OFF")
set_property(CACHE LENET_WITH_ONNXRUNTIME PROPERTY STRINGS AUTO ON OFF)
set(ONNXRUNTIME_DIR "" CACHE PATH
    "onnxruntime, laid out as the official archive (default: the system's, then the package of Python)")
set(LENET_HAS_ONNXRUNTIME OFF)
set(ONNXRUNTIME_LIBRARY)
set(ONNXRUNTIME_LIBRARY_DIR)
set(ONNXRUNTIME_INCLUDE_DIR)
if(NOT LENET_WITH_ONNXRUNTIME)
  message(STATUS "Without the onnxruntime engine")
  return()
endif()
set(LENET_HAS_ONNXRUNTIME ON)

set(_header onnxruntime_c_api.h)
if(ONNXRUNTIME_DIR)
  get_filename_component(ONNXRUNTIME_LIBRARY_DIR ${ONNXRUNTIME_DIR}/lib ABSOLUTE)
  get_filename_component(ONNXRUNTIME_INCLUDE_DIR ${ONNXRUNTIME_DIR}/include ABSOLUTE)
  if(NOT EXISTS ${ONNXRUNTIME_LIBRARY_DIR}/libonnxruntime.so OR
     NOT EXISTS ${ONNXRUNTIME_INCLUDE_DIR}/${_header})
    message(FATAL_ERROR "${ONNXRUNTIME_DIR} is not an onnxruntime archive: it needs "
                        "lib/libonnxruntime.so and include/${_header}")
  endif()
else()
  find_library(_system_library onnxruntime NO_CACHE)
  find_path(_system_header ${_header} PATH_SUFFIXES onnxruntime onnxruntime/core/session NO_CACHE)
  if(_system_library AND _system_header)
    get_filename_component(ONNXRUNTIME_LIBRARY_DIR ${_system_library} DIRECTORY)
    set(ONNXRUNTIME_INCLUDE_DIR ${_system_header})
  elseif((LENET_BUILD_APPS OR NOT LENET_BUILD_PYTHON) AND NOT CMAKE_CROSSCOMPILING)
    # The Python package looks for it by itself, beside where it was installed. And what this
    # machine's Python has is for this machine.
    find_package(Python3 QUIET COMPONENTS Interpreter)
    if(Python3_Interpreter_FOUND)
      set(ONNXRUNTIME_LIBRARY_DIR ${Python3_SITEARCH}/onnxruntime/capi)
    endif()
  endif()
endif()

if(ONNXRUNTIME_LIBRARY_DIR)
  file(GLOB _libraries ${ONNXRUNTIME_LIBRARY_DIR}/libonnxruntime.so*)
  if(_libraries)
    list(GET _libraries 0 ONNXRUNTIME_LIBRARY)
  endif()
endif()
if(ONNXRUNTIME_LIBRARY)
  message(STATUS "onnxruntime in ${ONNXRUNTIME_LIBRARY_DIR}")
elseif(LENET_WITH_ONNXRUNTIME STREQUAL "AUTO")
  message(STATUS "No onnxruntime library yet: the engine looks for it when it runs")
else()
  message(FATAL_ERROR "onnxruntime not found: pip install onnxruntime for the Python that CMake "
                      "finds, set -DONNXRUNTIME_DIR=FOLDER to the official archive, or configure "
                      "with -DLENET_WITH_ONNXRUNTIME=AUTO or OFF")
endif()
