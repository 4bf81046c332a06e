# libjpeg-turbo, libpng and libwebp, by which decode_image and lenet_classify read photos. Each is used
# when it is found (LENET_IMAGE_LIBRARIES=AUTO), must be there (ON), or is not searched for (OFF, the
# default of a wheel, whose users may not have them: there Pillow decodes). Sets LENET_HAS_JPEG,
# LENET_HAS_PNG and LENET_HAS_WEBP; LENET_LEFT_OUT names the missing packages of Debian, for run.sh.
# tools/windows.py builds no libwebp: for Windows it is never required.
#
# And libyaml, by which the descriptions are read that toolkits write beside a network: as an archive, so
# that who uses a wheel or a copy of liblenet needs no package. Sets LENET_HAS_YAML and
# LENET_YAML_LIBRARY.
set(_default AUTO)
if(LENET_BUILD_PYTHON AND NOT LENET_BUILD_APPS)
  set(_default OFF)
endif()
set(LENET_IMAGE_LIBRARIES ${_default} CACHE STRING "Decode JPEG, PNG and WebP in C++: AUTO, ON or OFF")
set_property(CACHE LENET_IMAGE_LIBRARIES PROPERTY STRINGS AUTO ON OFF)
set(_left_out)
foreach(_library JPEG PNG WEBP)
  set(LENET_HAS_${_library} 0)
  if(LENET_IMAGE_LIBRARIES)
    find_package(${_library} QUIET)
    if(${_library}_FOUND)
      set(LENET_HAS_${_library} 1)
    elseif(NOT (WIN32 AND _library STREQUAL "WEBP"))
      string(TOLOWER ${_library} _name)
      list(APPEND _left_out lib${_name}-dev)
    endif()
  endif()
endforeach()
find_path(LENET_YAML_INCLUDE_DIR yaml.h)
find_library(LENET_YAML_LIBRARY NAMES libyaml.a yaml)
mark_as_advanced(LENET_YAML_INCLUDE_DIR LENET_YAML_LIBRARY)
set(LENET_HAS_YAML 0)
if(LENET_YAML_INCLUDE_DIR AND LENET_YAML_LIBRARY)
  set(LENET_HAS_YAML 1)
else()
  set(LENET_YAML_LIBRARY "")
  list(APPEND _left_out libyaml-dev)
endif()
list(JOIN _left_out " " _left_out)
set(LENET_LEFT_OUT "${_left_out}" CACHE INTERNAL "Packages of Debian that are not installed")
if(_left_out AND LENET_IMAGE_LIBRARIES AND NOT LENET_IMAGE_LIBRARIES STREQUAL "AUTO")
  message(FATAL_ERROR "not found: ${_left_out}; install them, or configure with "
                      "-DLENET_IMAGE_LIBRARIES=AUTO")
endif()
message(STATUS "Reading in C++: JPEG ${LENET_HAS_JPEG}, PNG ${LENET_HAS_PNG}, WebP ${LENET_HAS_WEBP}, YAML ${LENET_HAS_YAML}")
