# SPDX-License-Identifier: Apache-2.0
# The only table from an ISA token to compiler flags. A kernel file is named after its token, so
# csrc/kernels/<family>/<token>.cpp finds its flags here. A token whose flags the compiler does not
# know for this target is left out of the build, and its rows vanish from kernels.inc.
include(CheckCXXCompilerFlag)

# The tokens are those of isa.inc, in its order.
set(_octavo_isa_inc ${PROJECT_SOURCE_DIR}/csrc/dispatch/isa.inc)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${_octavo_isa_inc})
file(STRINGS ${_octavo_isa_inc} OCTAVO_ISA_TOKENS REGEX "^OCTAVO_ISA\\(")
list(TRANSFORM OCTAVO_ISA_TOKENS REPLACE "^OCTAVO_ISA\\([A-Za-z0-9]+, ([a-z0-9_]+),.*" "\\1")

# CMake calls clang-cl MSVC too, after its command line. It knows Clang's flags for instructions, and
# needs them: else it refuses intrinsics that MSVC has without a flag.
set(OCTAVO_CLANG_CL FALSE)
if(MSVC AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  set(OCTAVO_CLANG_CL TRUE)
endif()

# What all code is compiled with: where a * b + c became one operation, bits would depend on the
# compiler. /fp:precise lets clang-cl do that, and MSVC before Visual Studio 2022.
if(OCTAVO_CLANG_CL)
  set(OCTAVO_EXACT_OPTIONS /clang:-ffp-contract=off)
elseif(MSVC)
  if(MSVC_VERSION LESS 1930)
    message(FATAL_ERROR "octavo needs Visual Studio 2022 or newer, or clang-cl")
  endif()
  set(OCTAVO_EXACT_OPTIONS /fp:precise)
else()
  set(OCTAVO_EXACT_OPTIONS -ffp-contract=off)
endif()
# Kernels besides: no LTO, since the linker must not mix code of different tiers.
set(OCTAVO_KERNEL_OPTIONS ${OCTAVO_EXACT_OPTIONS})
if(OCTAVO_CLANG_CL)
  list(APPEND OCTAVO_KERNEL_OPTIONS /clang:-fno-lto /EHs-c- /GR-)
elseif(NOT MSVC)
  # Nothing is thrown through a kernel: tables to unwind it are 30 KB of a compressed module.
  list(APPEND OCTAVO_KERNEL_OPTIONS -fno-lto -fno-exceptions -fno-rtti -fno-asynchronous-unwind-tables)
endif()

# octavo_isa_flags(<token> X86|ARM [FLAGS <of GCC and Clang>...] [MSVC <of MSVC>...] [EMULATED])
# EMULATED: a tier that OCTAVO_EMULATE can run in software, compiled with what AVX2 machines have.
function(octavo_isa_flags token)
  cmake_parse_arguments(PARSE_ARGV 1 arg "X86;ARM;EMULATED" "" "FLAGS;MSVC")
  if(NOT token IN_LIST OCTAVO_ISA_TOKENS)
    message(FATAL_ERROR "cmake/octavo_isa.cmake: '${token}' is no tier of csrc/dispatch/isa.inc")
  endif()
  if(MSVC AND NOT OCTAVO_CLANG_CL)
    set(OCTAVO_FLAGS_${token} "${arg_MSVC}" PARENT_SCOPE)
  else()
    set(OCTAVO_FLAGS_${token} "${arg_FLAGS}" PARENT_SCOPE)
  endif()
  if(arg_X86)
    set(OCTAVO_PROCESSOR_${token} "^(x86_64|AMD64|amd64|x64)$" PARENT_SCOPE)
  elseif(arg_ARM)
    set(OCTAVO_PROCESSOR_${token} "^(aarch64|arm64|ARM64)$" PARENT_SCOPE)
  else()
    set(OCTAVO_PROCESSOR_${token} "" PARENT_SCOPE)
  endif()
  if(arg_EMULATED)
    set(_octavo_emulated ${_octavo_emulated} ${token} PARENT_SCOPE)
  endif()
endfunction()

# AVX2 comes with F16C and FMA on every CPU that has it. Kernels say where they fuse (fma in
# kernels/common/lanes16_*.h): -ffp-contract=off keeps compilers from doing it elsewhere.
set(_octavo_avx2 -mavx2 -mf16c -mfma)
set(_octavo_avx512 ${_octavo_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12's own AVX-512 header trips these. Clang does not know the second: a probe with it fails.
  list(APPEND _octavo_avx512 -Wno-uninitialized -Wno-maybe-uninitialized)
endif()
set(_octavo_zmm ${_octavo_avx512} -mprefer-vector-width=512)
set(_octavo_scalar "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64|x64|aarch64|arm64|ARM64)$")
  # Other tiers are what runs there: this one takes half the bytes.
  set(_octavo_scalar $<$<CONFIG:Release>:-Os>)
endif()
octavo_isa_flags(scalar FLAGS ${_octavo_scalar})
octavo_isa_flags(sse41 X86 FLAGS -msse4.1)
octavo_isa_flags(avx2 X86 FLAGS ${_octavo_avx2} MSVC /arch:AVX2)
octavo_isa_flags(avxvnni X86 FLAGS ${_octavo_avx2} -mavxvnni MSVC /arch:AVX2 EMULATED)
octavo_isa_flags(avx512vnni X86 FLAGS ${_octavo_zmm} MSVC /arch:AVX512 EMULATED)
octavo_isa_flags(avx512vbmi2 X86 FLAGS ${_octavo_zmm} -mavx512vbmi -mavx512vbmi2 MSVC /arch:AVX512
                 EMULATED)
octavo_isa_flags(amx_int8 X86 FLAGS ${_octavo_avx512} -mamx-tile -mamx-int8 MSVC /arch:AVX512
                 EMULATED)
# MSVC has the intrinsics of all of them without a flag.
set(_octavo_neon "")
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 moves loads up before it hands out registers, and then spills sums. Six rows of gemm_f32:
  # 12 cycles instead of 15 (neoverse-n1 by llvm-mca).
  list(APPEND _octavo_neon -fno-schedule-insns)
endif()
octavo_isa_flags(neon ARM FLAGS -march=armv8-a ${_octavo_neon})
octavo_isa_flags(neon_dotprod ARM FLAGS -march=armv8.2-a+dotprod ${_octavo_neon})
octavo_isa_flags(neon_i8mm ARM FLAGS -march=armv8.2-a+dotprod+i8mm ${_octavo_neon})

foreach(token IN LISTS OCTAVO_ISA_TOKENS)
  if(NOT DEFINED OCTAVO_FLAGS_${token})
    message(FATAL_ERROR "cmake/octavo_isa.cmake: no flags for '${token}' of csrc/dispatch/isa.inc")
  endif()
endforeach()

# The tiers that this build runs in software: all that can be, or those that are named.
string(REPLACE "," ";" OCTAVO_IN_SOFTWARE "${OCTAVO_EMULATE}")
if(OCTAVO_EMULATE STREQUAL "ON")
  set(OCTAVO_IN_SOFTWARE ${_octavo_emulated})
elseif(NOT OCTAVO_EMULATE)
  set(OCTAVO_IN_SOFTWARE "")
endif()
foreach(token IN LISTS OCTAVO_IN_SOFTWARE)
  if(NOT token IN_LIST _octavo_emulated)
    message(FATAL_ERROR "OCTAVO_EMULATE: expected ON, OFF or some of ${_octavo_emulated}, got '${token}'")
  endif()
endforeach()

# Sets OCTAVO_HAVE_<token> in the caller's scope for each tier that can be built.
function(octavo_probe_isas)
  foreach(token IN LISTS OCTAVO_ISA_TOKENS)
    set(have FALSE)
    if(token STREQUAL "scalar")
      set(have TRUE)
    elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "${OCTAVO_PROCESSOR_${token}}")
      if((MSVC AND NOT OCTAVO_CLANG_CL) OR token IN_LIST OCTAVO_IN_SOFTWARE)
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
