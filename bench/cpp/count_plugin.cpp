// SPDX-License-Identifier: Apache-2.0
// A plugin of qemu-user: how many instructions a program executed, written to the file out=... when
// it ends. A block of instructions counts whole each time it is entered; only a fault would leave
// one early. bench/instructions.py compiles it. Debian has no header of QEMU's plugin interface, so
// what is used of it is declared here, as QEMU 7.2 has it.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>

extern "C" {
struct qemu_plugin_tb;
struct qemu_info_t;
using TranslatedBlock = void (*)(std::uint64_t plugin, qemu_plugin_tb* block);
using ExecutedBlock = void (*)(unsigned cpu, void* data);
using AtExit = void (*)(std::uint64_t plugin, void* data);
void qemu_plugin_register_vcpu_tb_trans_cb(std::uint64_t plugin, TranslatedBlock call);
void qemu_plugin_register_vcpu_tb_exec_cb(qemu_plugin_tb* block, ExecutedBlock call, int registers,
                                          void* data);
void qemu_plugin_register_atexit_cb(std::uint64_t plugin, AtExit call, void* data);
std::size_t qemu_plugin_tb_n_insns(const qemu_plugin_tb* block);
}

namespace {

constexpr int kReadsNoRegisters = 0;
std::atomic<std::uint64_t> executed{0};
const char* out = nullptr;

void count_block(unsigned, void* instructions) {
  executed.fetch_add(reinterpret_cast<std::uintptr_t>(instructions), std::memory_order_relaxed);
}

void watch_block(std::uint64_t, qemu_plugin_tb* block) {
  const std::size_t instructions = qemu_plugin_tb_n_insns(block);
  qemu_plugin_register_vcpu_tb_exec_cb(block, count_block, kReadsNoRegisters,
                                       reinterpret_cast<void*>(instructions));
}

void write_count(std::uint64_t, void*) {
  std::FILE* const file = std::fopen(out, "w");
  if (file == nullptr) return;
  std::fprintf(file, "%llu\n", static_cast<unsigned long long>(executed.load()));
  std::fclose(file);
}

}  // namespace

extern "C" {

int qemu_plugin_version = 1;

int qemu_plugin_install(std::uint64_t plugin, const qemu_info_t*, int argc, char** argv) {
  for (int i = 0; i < argc; ++i) {
    if (std::strncmp(argv[i], "out=", 4) == 0) out = strdup(argv[i] + 4);
  }
  if (out == nullptr) return 1;
  qemu_plugin_register_vcpu_tb_trans_cb(plugin, watch_block);
  qemu_plugin_register_atexit_cb(plugin, write_count, nullptr);
  return 0;
}

}  // extern "C"
