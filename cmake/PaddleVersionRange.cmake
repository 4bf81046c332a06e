# The range of supported Paddle versions is stated in pyproject.toml, in the extra paddle and for the build.
# Sets PADDLE_RANGE (">=3.1,<3.4"), PADDLE_MIN ("3.1") and PADDLE_END ("3.4", not included).
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/pyproject.toml)
file(STRINGS ${PROJECT_SOURCE_DIR}/pyproject.toml _lines REGEX "\"paddlepaddle>=[^\"]*\"")
list(GET _lines 0 _line)
if(NOT _line MATCHES "\"paddlepaddle(>=([0-9.]+),<([0-9.]+))\"")
  message(FATAL_ERROR "pyproject.toml states no range of versions for paddlepaddle")
endif()
set(PADDLE_RANGE ${CMAKE_MATCH_1})
set(PADDLE_MIN ${CMAKE_MATCH_2})
set(PADDLE_END ${CMAKE_MATCH_3})
