# SPDX-License-Identifier: Apache-2.0
# Used from a Python package or a source tree; installing with CMake writes one of its own.
# As long as the version starts with 0, programs fit every library of the same minor version that is not older.
foreach(_smalti_part MAJOR MINOR PATCH)
  file(STRINGS "${CMAKE_CURRENT_LIST_DIR}/../include/smalti.h" _smalti_line REGEX "^#define SMALTI_VERSION_${_smalti_part} ")
  string(REGEX MATCH "[0-9]+$" _smalti_${_smalti_part} "${_smalti_line}")
endforeach()
set(PACKAGE_VERSION "${_smalti_MAJOR}.${_smalti_MINOR}.${_smalti_PATCH}")

set(PACKAGE_VERSION_COMPATIBLE FALSE)
set(PACKAGE_VERSION_EXACT FALSE)
if(PACKAGE_FIND_VERSION_RANGE)
  if(PACKAGE_VERSION VERSION_GREATER_EQUAL PACKAGE_FIND_VERSION_MIN
     AND (PACKAGE_VERSION VERSION_LESS PACKAGE_FIND_VERSION_MAX
          OR (PACKAGE_FIND_VERSION_RANGE_MAX STREQUAL "INCLUDE" AND PACKAGE_VERSION VERSION_EQUAL PACKAGE_FIND_VERSION_MAX)))
    set(PACKAGE_VERSION_COMPATIBLE TRUE)
  endif()
elseif(NOT PACKAGE_FIND_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
else()
  if(PACKAGE_FIND_VERSION_MAJOR EQUAL _smalti_MAJOR
     AND (PACKAGE_FIND_VERSION_COUNT LESS 2 OR PACKAGE_FIND_VERSION_MINOR EQUAL _smalti_MINOR)
     AND NOT PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION)
    set(PACKAGE_VERSION_COMPATIBLE TRUE)
  endif()
  if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)
    set(PACKAGE_VERSION_EXACT TRUE)
  endif()
endif()
