# SPDX-License-Identifier: Apache-2.0
# CMake package of the C library that runs offline model files.
#
#   smalti::smalti   the shared library
#   smalti::static   the static library
#   smalti_PREBUILT  whether the libraries were there; otherwise they are built with the project, from shipped sources
#
# -DSMALTI_FROM_SOURCE=ON builds them in any case: for sanitizers, other flags, another C library.
if(TARGET smalti::smalti)
  set(smalti_FOUND TRUE)
  return()
endif()

include(CMakeFindDependencyMacro)
find_dependency(Threads)

set(smalti_PREBUILT FALSE)
if(EXISTS "${CMAKE_CURRENT_LIST_DIR}/smaltiTargets.cmake")
  include("${CMAKE_CURRENT_LIST_DIR}/smaltiTargets.cmake")
  set(smalti_PREBUILT TRUE)
  return()
endif()

# A Python package or a source tree: this file is in ROOT/cmake, beside ROOT/include, ROOT/src and perhaps ROOT/lib.
get_filename_component(_smalti_root "${CMAKE_CURRENT_LIST_DIR}/.." ABSOLUTE)
set(_smalti_shared "${_smalti_root}/lib/libsmalti.so.0")
set(_smalti_archive "${_smalti_root}/lib/libsmalti.a")
if(NOT SMALTI_FROM_SOURCE AND EXISTS "${_smalti_shared}" AND EXISTS "${_smalti_archive}")
  # A cross build may find libraries of the machine it runs on; ELF says whose they are.
  file(READ "${_smalti_shared}" _smalti_machine OFFSET 18 LIMIT 2 HEX)
  if((_smalti_machine STREQUAL "3e00" AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64)$" AND CMAKE_SIZEOF_VOID_P EQUAL 8)
     OR (_smalti_machine STREQUAL "b700" AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$" AND CMAKE_SIZEOF_VOID_P EQUAL 8))
    set(smalti_PREBUILT TRUE)
  endif()
endif()

if(smalti_PREBUILT)
  add_library(smalti::smalti SHARED IMPORTED)
  set_target_properties(smalti::smalti PROPERTIES IMPORTED_LOCATION "${_smalti_shared}" IMPORTED_SONAME libsmalti.so.0
                        INTERFACE_INCLUDE_DIRECTORIES "${_smalti_root}/include")
  add_library(smalti::static STATIC IMPORTED)
  set_target_properties(smalti::static PROPERTIES IMPORTED_LOCATION "${_smalti_archive}" IMPORTED_LINK_INTERFACE_LANGUAGES C
                        INTERFACE_INCLUDE_DIRECTORIES "${_smalti_root}/include"
                        INTERFACE_COMPILE_DEFINITIONS SMALTI_STATIC INTERFACE_LINK_LIBRARIES Threads::Threads)
else()
  # The sources are C, and a project in C++ alone has not looked for a C compiler.
  enable_language(C)
  add_subdirectory("${_smalti_root}" "${CMAKE_BINARY_DIR}/_smalti" EXCLUDE_FROM_ALL)
endif()
unset(_smalti_root)
unset(_smalti_shared)
unset(_smalti_archive)
unset(_smalti_machine)
