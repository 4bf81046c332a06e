# What `cmake --build build/package --target package` writes (cmake --preset package): the library for
# C++ and C with its programs, as NAME.tar.gz, which may be unpacked anywhere, and as Debian's NAME.deb
# where the programs are installed that find out which packages it depends on.
set(CPACK_GENERATOR TGZ)
set(CPACK_PACKAGE_NAME lenet)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Run PaddlePaddle and ONNX image classifiers from C++ and C")
set(CPACK_PACKAGE_CONTACT "the authors of lenet_cpp")
set(CPACK_PACKAGE_CHECKSUM SHA256)
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_DEB_COMPONENT_INSTALL OFF)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
# ldconfig finds the library where it is installed.
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
find_program(_shlibdeps dpkg-shlibdeps NO_CACHE)
find_program(_file file NO_CACHE)
if(_shlibdeps AND _file)
  list(APPEND CPACK_GENERATOR DEB)
else()
  message(STATUS "lenet: a .deb needs dpkg-shlibdeps and file (apt-get install dpkg-dev file)")
endif()
include(CPack)
