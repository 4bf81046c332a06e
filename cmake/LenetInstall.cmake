# Where the pieces go: a package for CMake (find_package(lenet)) and for pkg-config, and the files of
# the Python package.
include(CMakePackageConfigHelpers)

set(_plugins)
foreach(_plugin lenet_paddle lenet_python_stubs)
  if(TARGET ${_plugin})
    list(APPEND _plugins ${_plugin})
  endif()
endforeach()

set(_programs lenet_infer_native)
file(RELATIVE_PATH _from_bin /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR})
set(_more lenet_classify lenet_serve lenet_serve_grpc)
if(NOT LENET_ARCHIVE)  # In a static build, lenet_infer_native replaces it.
  list(APPEND _more lenet_infer_test)
endif()
foreach(_program ${_more})
  if(TARGET ${_program})
    set_target_properties(${_program} PROPERTIES INSTALL_RPATH "${LENET_ORIGIN}/${_from_bin}")
    list(APPEND _programs ${_program})
  endif()
endforeach()

if(LENET_BUILD_PYTHON)
  install(TARGETS lenet ${_plugins} _core LIBRARY DESTINATION . COMPONENT python
          NAMELINK_SKIP EXCLUDE_FROM_ALL)
  # A wheel holds no links: the file gets the name that the others look for.
  install(CODE "file(RENAME \"\${CMAKE_INSTALL_PREFIX}/$<TARGET_FILE_NAME:lenet>\"
    \"\${CMAKE_INSTALL_PREFIX}/$<TARGET_SONAME_FILE_NAME:lenet>\")"
    COMPONENT python EXCLUDE_FROM_ALL)
  # Where python/lenet_cpp/inference/program.py looks for them.
  set(_python_programs ${_programs})
  # The package has its commands, and gRPC's libraries are the system's.
  list(REMOVE_ITEM _python_programs lenet_infer_test lenet_serve_grpc)
  install(TARGETS ${_python_programs} RUNTIME DESTINATION bin COMPONENT python EXCLUDE_FROM_ALL)
  if(NOT LENET_STATIC)
    list(REMOVE_ITEM _python_programs lenet_infer_native)  # needs no library
    foreach(_program ${_python_programs})
      install(CODE "file(RPATH_SET FILE \"\${CMAKE_INSTALL_PREFIX}/bin/${_program}\"
        NEW_RPATH [[$ORIGIN/..]])" COMPONENT python EXCLUDE_FROM_ALL)
    endforeach()
  endif()
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/data/mnist_sample DESTINATION . COMPONENT python
          EXCLUDE_FROM_ALL)
  # For `lenet-cpp web`.
  install(FILES ${LENET_WEB_FILES} DESTINATION deploy/page COMPONENT python EXCLUDE_FROM_ALL)
  # For `lenet-cpp fetch-paddle`, in the places that the script knows from a clone.
  install(FILES ${PROJECT_SOURCE_DIR}/scripts/fetch_paddle_inference.py
          DESTINATION fetch_paddle/scripts COMPONENT python EXCLUDE_FROM_ALL)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/scripts/paddle_library DESTINATION fetch_paddle/scripts
          COMPONENT python EXCLUDE_FROM_ALL FILES_MATCHING PATTERN "*.py")
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/cpp/compat DESTINATION fetch_paddle/cpp
          COMPONENT python EXCLUDE_FROM_ALL)
  install(FILES ${PROJECT_SOURCE_DIR}/pyproject.toml DESTINATION fetch_paddle
          COMPONENT python EXCLUDE_FROM_ALL)
endif()
if(LENET_BUILD_PYTHON AND NOT LENET_BUILD_APPS)
  return()  # a wheel
elseif(LENET_BUILD_PYTHON AND TARGET lenet_paddle)
  # Beside the programs the plug-in has their run path too, which is not for the package.
  install(CODE [[file(RPATH_SET FILE "${CMAKE_INSTALL_PREFIX}/liblenet_paddle.so"
    NEW_RPATH "$ORIGIN:$ORIGIN/../paddle/base:$ORIGIN/../paddle/libs")]]
    COMPONENT python EXCLUDE_FROM_ALL)
endif()

install(TARGETS lenet EXPORT lenet LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
# Beside liblenet.so, where it looks for them.
if(_plugins)
  install(TARGETS ${_plugins} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/cpp/include/lenet DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(LENET_BUILD_APPS)
  install(TARGETS ${_programs} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

set(_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/lenet)
install(EXPORT lenet NAMESPACE lenet:: DESTINATION ${_package_dir} FILE lenet-config.cmake)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/lenet-config-version.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/lenet-config-version.cmake DESTINATION ${_package_dir})

file(RELATIVE_PATH LENET_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
# A C program that links the archive also needs the C++ library (pkg-config --static).
set(LENET_LIBS_PRIVATE)
if(LENET_ARCHIVE)
  set(LENET_LIBS_PRIVATE "\nLibs.private: -lstdc++ -lm -pthread")
  if(LENET_ZIG)
    set(LENET_LIBS_PRIVATE "\nLibs.private: -lc++ -lm -pthread")
  endif()
endif()
configure_file(${CMAKE_CURRENT_LIST_DIR}/lenet.pc.in ${PROJECT_BINARY_DIR}/lenet.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/lenet.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(_documents ${CMAKE_INSTALL_DATAROOTDIR}/doc/lenet)
install(FILES ${PROJECT_SOURCE_DIR}/third_party/LICENSES.txt DESTINATION ${_documents})
# Under the name that Debian asks for.
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${_documents} RENAME copyright)
if(PROJECT_IS_TOP_LEVEL)
  include(LenetPackages)
endif()
