# Provides nlohmann_json::nlohmann_json: that of the project around this one, or from the system, or
# from the Python package nlohmann-json.
if(NOT TARGET nlohmann_json::nlohmann_json AND NOT MINGW)  # beside the system's own are others of Linux
  find_package(nlohmann_json 3.10 QUIET)
endif()
if(NOT TARGET nlohmann_json::nlohmann_json)
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  execute_process(
    COMMAND ${Python3_EXECUTABLE} -c
            "import importlib.util as u; print(u.find_spec('nlohmann_json').submodule_search_locations[0])"
    OUTPUT_VARIABLE _package OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(NOT EXISTS ${_package}/include/nlohmann/json.hpp)
    message(FATAL_ERROR "nlohmann/json.hpp not found: pip install nlohmann-json, or install nlohmann-json3-dev")
  endif()
  add_library(nlohmann_json::nlohmann_json INTERFACE IMPORTED)
  target_include_directories(nlohmann_json::nlohmann_json SYSTEM INTERFACE ${_package}/include)
endif()
