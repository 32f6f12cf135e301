// SPDX-License-Identifier: Apache-2.0
#include "bindings/gil.h"

#include <atomic>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace octavo {
namespace {

std::atomic<unsigned long> g_main_thread{0};

}  // namespace

bool is_main_thread() noexcept {
  return PyThread_get_thread_ident() == g_main_thread.load(std::memory_order_relaxed);
}

void remember_main_thread() {
  const nb::object thread = nb::module_::import_("threading").attr("main_thread")();
  g_main_thread = nb::cast<unsigned long>(thread.attr("ident"));
#if defined(__unix__) || defined(__APPLE__)
  // The thread that forks is the child's main thread.
  pthread_atfork(nullptr, nullptr, [] { g_main_thread = PyThread_get_thread_ident(); });
#endif
}

}  // namespace octavo
