# SPDX-License-Identifier: Apache-2.0
# The only table from an ISA token to compiler flags. A kernel file is named after its token, so
# csrc/kernels/<family>/<token>.cpp finds its flags here. A token whose flags the compiler does not
# know for this target is left out of the build, and its rows vanish from kernels.inc.
include(CheckCXXCompilerFlag)

set(OCTAVO_ISA_TOKENS scalar avx2 avxvnni avx512vnni avx512vbmi2 amx_int8)

# AVX2 comes with F16C and FMA on every CPU that has it. Kernels say where they fuse (fma in
# kernels/common/lanes16_*.h): -ffp-contract=off keeps compilers from doing it elsewhere.
set(_octavo_avx512 -mavx2 -mf16c -mfma -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12's own AVX-512 header trips these. Clang does not know the second: a probe with it fails.
  list(APPEND _octavo_avx512 -Wno-uninitialized -Wno-maybe-uninitialized)
endif()
set(OCTAVO_FLAGS_scalar "")
set(OCTAVO_FLAGS_avx2 -mavx2 -mf16c -mfma)
set(OCTAVO_FLAGS_avxvnni -mavx2 -mf16c -mfma -mavxvnni)
set(OCTAVO_FLAGS_avx512vnni ${_octavo_avx512} -mprefer-vector-width=512)
set(OCTAVO_FLAGS_avx512vbmi2 ${OCTAVO_FLAGS_avx512vnni} -mavx512vbmi -mavx512vbmi2)
set(OCTAVO_FLAGS_amx_int8 ${_octavo_avx512} -mamx-tile -mamx-int8)
set(OCTAVO_MSVC_FLAGS_scalar "")
set(OCTAVO_MSVC_FLAGS_avx2 /arch:AVX2)
set(OCTAVO_MSVC_FLAGS_avxvnni /arch:AVX2)
set(OCTAVO_MSVC_FLAGS_avx512vnni /arch:AVX512)
set(OCTAVO_MSVC_FLAGS_avx512vbmi2 /arch:AVX512)
set(OCTAVO_MSVC_FLAGS_amx_int8 /arch:AVX512)
# Emulated builds (tests only) compile every x86 tier with what AVX2 machines have.
set(OCTAVO_EMULATED_TOKENS avxvnni avx512vnni avx512vbmi2 amx_int8)

set(_octavo_x86_regex "^(x86_64|AMD64|amd64|x64)$")

# Sets OCTAVO_HAVE_<token> in the caller's scope for each tier that can be built.
function(octavo_probe_isas)
  foreach(token IN LISTS OCTAVO_ISA_TOKENS)
    set(have FALSE)
    if(token STREQUAL "scalar")
      set(have TRUE)
    elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "${_octavo_x86_regex}")
      if(MSVC OR (OCTAVO_EMULATE AND token IN_LIST OCTAVO_EMULATED_TOKENS))
        set(have TRUE)
      else()
        string(REPLACE ";" " " flags "${OCTAVO_FLAGS_${token}}")
        check_cxx_compiler_flag("${flags}" OCTAVO_CXX_HAS_${token})
        set(have ${OCTAVO_CXX_HAS_${token}})
      endif()
    endif()
    set(OCTAVO_HAVE_${token} ${have} PARENT_SCOPE)
  endforeach()
endfunction()

# Adds every kernel file whose tier can be built to `target`, with that tier's flags.
function(octavo_add_kernels target)
  octavo_probe_isas()
  file(GLOB files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/csrc/kernels/*/*.cpp)
  foreach(file IN LISTS files)
    get_filename_component(token ${file} NAME_WE)
    if(NOT token IN_LIST OCTAVO_ISA_TOKENS)
      message(FATAL_ERROR "${file}: '${token}' is no ISA token of cmake/octavo_isa.cmake")
    endif()
    if(NOT OCTAVO_HAVE_${token})
      continue()
    endif()
    if(MSVC)
      set(flags ${OCTAVO_MSVC_FLAGS_${token}} /fp:precise)
    elseif(OCTAVO_EMULATE AND token IN_LIST OCTAVO_EMULATED_TOKENS)
      # SIMDe computes on signed lanes: hardware wraps, hence -fwrapv.
      set(flags ${OCTAVO_FLAGS_avx2} -DOCTAVO_EMULATE=1 -fwrapv -Wno-psabi -fno-lto
          -ffp-contract=off -fno-exceptions -fno-rtti)
    else()
      # No LTO: the linker must not mix code of different tiers.
      set(flags ${OCTAVO_FLAGS_${token}} -fno-lto -ffp-contract=off -fno-exceptions -fno-rtti)
    endif()
    target_sources(${target} PRIVATE ${file})
    set_source_files_properties(${file} PROPERTIES COMPILE_OPTIONS "${flags}")
  endforeach()
  foreach(token IN LISTS OCTAVO_ISA_TOKENS)
    if(OCTAVO_HAVE_${token})
      string(TOUPPER ${token} upper)
      target_compile_definitions(${target} PUBLIC OCTAVO_HAVE_${upper}=1)
    endif()
  endforeach()
endfunction()
