# lenet.wasm and the page around it, for `lenet-cpp web`: web/ is a project of its own, built here
# where Emscripten is found (Debian: emscripten).
#
# LENET_WEB: AUTO (where Emscripten is), ON (it is required), OFF. Sets LENET_WEB_FILES, the files of
# the page, or nothing.
set(LENET_WEB AUTO CACHE STRING "lenet.wasm, the module for browsers: AUTO, ON or OFF")
set_property(CACHE LENET_WEB PROPERTY STRINGS AUTO ON OFF)
set(LENET_WEB_FILES)
if(NOT LENET_WEB)
  return()
endif()
find_program(LENET_EM_CONFIG em-config)
if(LENET_EM_CONFIG)
  execute_process(COMMAND ${LENET_EM_CONFIG} EMSCRIPTEN_ROOT OUTPUT_VARIABLE _emscripten
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
set(_toolchain ${_emscripten}/cmake/Modules/Platform/Emscripten.cmake)
if(NOT EXISTS ${_toolchain})
  if(NOT LENET_WEB STREQUAL "AUTO")
    message(FATAL_ERROR "Emscripten not found: install Debian's package emscripten, or configure "
                        "with -DLENET_WEB=AUTO or OFF")
  endif()
  message(STATUS "Without lenet.wasm, the module for browsers: Emscripten is not installed")
  return()
endif()
message(STATUS "lenet.wasm by the Emscripten in ${_emscripten}")

include(ExternalProject)
set(_web ${PROJECT_SOURCE_DIR}/web)
# In a folder of its own: beside Debian's lie the system's headers, which are not for this compiler.
get_target_property(_json nlohmann_json::nlohmann_json INTERFACE_INCLUDE_DIRECTORIES)
set(_headers ${PROJECT_BINARY_DIR}/web_headers)
file(MAKE_DIRECTORY ${_headers})
file(CREATE_LINK ${_json}/nlohmann ${_headers}/nlohmann SYMBOLIC)
ExternalProject_Add(lenet_web
  SOURCE_DIR ${_web}
  BINARY_DIR ${PROJECT_BINARY_DIR}/web
  BUILD_ALWAYS ON  # what it is made of lies outside its folder
  INSTALL_COMMAND ""
  CMAKE_ARGS -DCMAKE_TOOLCHAIN_FILE=${_toolchain} -DLENET_JSON_INCLUDE=${_headers}
             -DCMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER})
foreach(_file index.html page.css page.js lenet.js sw.js)
  list(APPEND LENET_WEB_FILES ${_web}/${_file})
endforeach()
foreach(_photo 2-pen 3-paper 5-board 7-shadow)
  list(APPEND LENET_WEB_FILES ${PROJECT_SOURCE_DIR}/examples/photos/${_photo}.jpg)
endforeach()
list(APPEND LENET_WEB_FILES ${PROJECT_BINARY_DIR}/web/lenet.wasm)
