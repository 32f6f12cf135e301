// SPDX-License-Identifier: Apache-2.0
// Has a library of this process believe that it runs on a lesser CPU: its `cpuid` instructions
// become invalid ones, and the handler of the signal answers in their place, with AVX-512 and what
// came after it left out. For measurements (bench/images_tiers.py); Linux on x86-64.
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <ucontext.h>

static int keeps_avxvnni;

static uint32_t bits(const int* numbers, int count) {
  uint32_t mask = 0;
  for (int i = 0; i < count; ++i) mask |= 1u << numbers[i];
  return mask;
}
#define BITS(...) bits((const int[]){__VA_ARGS__}, sizeof((const int[]){__VA_ARGS__}) / sizeof(int))

static void answer(int number, siginfo_t* info, void* context) {
  (void)number;
  (void)info;
  greg_t* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
  const uint32_t leaf = (uint32_t)registers[REG_RAX], part = (uint32_t)registers[REG_RCX];
  uint32_t a, b, c, d;
  __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(leaf), "c"(part));
  if (leaf == 7 && part == 0) {
    b &= ~BITS(16, 17, 21, 26, 27, 28, 30, 31);  // AVX512F, DQ, IFMA, PF, ER, CD, BW, VL
    c &= ~BITS(1, 6, 11, 12, 14);                // VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ
    d &= ~BITS(8, 22, 23, 24, 25);               // VP2INTERSECT, AMX-BF16, FP16, AMX
  }
  if (leaf == 7 && part == 1) {
    a &= ~BITS(5);  // AVX512_BF16
    if (!keeps_avxvnni) a &= ~BITS(4);
    d &= ~BITS(4, 10);  // AVX-VNNI-INT8, -INT16
  }
  registers[REG_RAX] = a;
  registers[REG_RBX] = b;
  registers[REG_RCX] = c;
  registers[REG_RDX] = d;
  registers[REG_RIP] += 2;
}

// Returns how many of the sites, addresses of `cpuid` instructions, now ask the handler.
int hold(const uint64_t* sites, int count, int with_avxvnni) {
  keeps_avxvnni = with_avxvnni;
  struct sigaction action = {0};
  action.sa_sigaction = answer;
  action.sa_flags = SA_SIGINFO;
  if (sigaction(SIGILL, &action, 0) != 0) return 0;
  int held = 0;
  for (int i = 0; i < count; ++i) {
    uint8_t* code = (uint8_t*)sites[i];
    if (code[0] != 0x0f || code[1] != 0xa2) continue;
    void* page = (void*)((uintptr_t)code & ~(uintptr_t)4095);
    if (mprotect(page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC) != 0) continue;
    code[1] = 0x0b;  // ud2
    ++held;
  }
  return held;
}
