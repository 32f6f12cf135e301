// SPDX-License-Identifier: Apache-2.0
// What a kernel must tell its compiler. No code, only spellings.
#pragma once

// Before a loop over registers whose count is known: unrolls it before GCC decides what lives in
// memory. Without it GCC 12 stores each sum of a block of 8x3 on every step: 104 instructions for
// 24 dot products instead of 40.
#if defined(__GNUC__) && !defined(__clang__)
#define OCTAVO_UNROLL _Pragma("GCC unroll 16")
#else
#define OCTAVO_UNROLL
#endif

// A function that is to be part of the loop that calls it, where sixteen lanes are four registers:
// GCC 12 takes it for too large there. On x86 it decides better itself: the epilogue took 4.9 us
// for 128x768 outputs, and 5.7 with this (Zen 5, AVX-512).
#if defined(__aarch64__)
#define OCTAVO_INLINE inline __attribute__((always_inline))
#else
#define OCTAVO_INLINE inline
#endif

// Makes the compiler take a pointer for changed: what lies behind it is read again instead of
// being kept in registers that are needed for more.
#if defined(_MSC_VER) && !defined(__clang__)
#define OCTAVO_FORGET(p) ((void)0)
#else
#define OCTAVO_FORGET(p) __asm__ volatile("" : "+r"(p))
#endif

// The same for a vector: what is computed from it stays in its loop, and in one register. Emulated
// vectors are structs and have none.
#if (defined(_MSC_VER) && !defined(__clang__)) || defined(OCTAVO_EMULATE)
#define OCTAVO_FORGET_VECTOR(v) ((void)0)
#elif defined(__aarch64__)
#define OCTAVO_FORGET_VECTOR(v) __asm__ volatile("" : "+w"(v))
#else
#define OCTAVO_FORGET_VECTOR(v) __asm__ volatile("" : "+v"(v))
#endif

// For a loop that is timed, before an operand is used: what is computed from it is computed each
// time. MSVC has no assembly for that. `read`, which makes the same vector of a volatile value, is
// one load.
#if defined(_MSC_VER) && !defined(__clang__)
#define OCTAVO_HIDE_VECTOR(v, read) ((v) = (read))
#else
#define OCTAVO_HIDE_VECTOR(v, read) OCTAVO_FORGET_VECTOR(v)
#endif

// Behind the load of a vector: no load is merged with it, nor moved past it. For ARM cores that
// execute in order.
#if defined(__aarch64__)
#define OCTAVO_LOADED(v) __asm__ volatile("" : "+w"(v) : : "memory")
#else
#define OCTAVO_LOADED(v) ((void)0)
#endif

// Before an instruction that reads what lies behind a pointer, where its intrinsic does not say so
// to the compiler (of GCC's for AMX none that loads does): all is written by then.
#if defined(_MSC_VER) && !defined(__clang__)
#define OCTAVO_WRITTEN(p) ((void)0)
#else
#define OCTAVO_WRITTEN(p) __asm__ volatile("" : : "r"(p) : "memory")
#endif

// Before a function of a header, used or not, that is large for what calls it.
#if defined(_MSC_VER) && !defined(__clang__)
#define OCTAVO_NOINLINE __declspec(noinline)
#else
#define OCTAVO_NOINLINE __attribute__((noinline, unused))
#endif

// Asks for the cache line at p, any address, to be brought into L2.
#if defined(_MSC_VER) && !defined(__clang__)
#define OCTAVO_PREFETCH(p) ((void)0)
#else
#define OCTAVO_PREFETCH(p) __builtin_prefetch((p), 0, 2)
#endif
