# libwebp, which brings no file for find_package in Debian: WEBP::WEBP, and WEBPDEMUX::WEBPDEMUX, which
# reads its containers. Of archives, only the decoder comes into a program.
find_path(WEBP_INCLUDE_DIR webp/demux.h)
find_library(WEBP_LIBRARY webp)
find_library(WEBPDEMUX_LIBRARY webpdemux)
mark_as_advanced(WEBP_INCLUDE_DIR WEBP_LIBRARY WEBPDEMUX_LIBRARY)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(WEBP DEFAULT_MSG WEBP_LIBRARY WEBPDEMUX_LIBRARY WEBP_INCLUDE_DIR)
if(WEBP_FOUND AND NOT TARGET WEBP::WEBP)
  foreach(_library WEBP WEBPDEMUX)
    add_library(${_library}::${_library} UNKNOWN IMPORTED)
    set_target_properties(${_library}::${_library} PROPERTIES
      IMPORTED_LOCATION "${${_library}_LIBRARY}" INTERFACE_INCLUDE_DIRECTORIES "${WEBP_INCLUDE_DIR}")
  endforeach()
endif()
