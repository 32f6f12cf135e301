// SPDX-License-Identifier: Apache-2.0
// What the lists of tiers and kernels promise, and which kernel is chosen on machines this is not.
#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "check.h"
#include "dispatch/cpu_features.h"
#include "dispatch/registry.h"

namespace octavo_test {
namespace {

using namespace octavo;

IsaMask compiled_isas() {
  IsaMask mask = 0;
  for (const IsaInfo& tier : isa_table()) mask |= tier.compiled ? bit(tier.isa) : 0;
  return mask;
}

// The closure of a token; of "", nothing.
IsaMask closure_of(const std::string& token) {
  return token.empty() ? 0 : find_isa(token)->closure;
}

void test_closures() {
  IsaMask above = 0;
  for (const IsaInfo& tier : isa_table()) {
    const std::string what = std::string("tier ") + tier.token;
    check(bit(tier.isa) > above, what + " comes after lesser ones");
    above |= bit(tier.isa);
    check((tier.closure & ~above) == 0, what + " implies lesser tiers only");
    check(tier.closure & bit(tier.isa), what + " implies itself");
    check(tier.closure & bit(Isa::Scalar), what + " implies scalar");
    for (const IsaInfo& other : isa_table()) {
      if (!(tier.closure & bit(other.isa))) continue;
      check((other.closure & ~tier.closure) == 0,
            what + " implies all that " + other.token + " does");
    }
    if (!tier.compiled) continue;
    for (const char* flag : tier.flags) {
      bool known = false;
      for (const auto& entry : cpu_features().flags) known = known || entry.first == flag;
      check(known, what + ": " + flag + " is a flag that is probed");
    }
  }
  check(isa_table().front().isa == Isa::Scalar && isa_table().front().flags.empty(),
        "scalar comes first and needs nothing");
}

#if !OCTAVO_EMULATED_BUILD
// Whether a tier, or one that it implies, asks for a flag.
bool needs(const IsaInfo& tier, const std::string& flag) {
  for (const IsaInfo& implied : isa_table()) {
    if (!(tier.closure & bit(implied.isa))) continue;
    for (const char* one : implied.flags) {
      if (one == flag) return true;
    }
  }
  return false;
}

// A CPU that has all flags but one has the tiers that do not need it.
void test_detection() {
  std::vector<std::string> missing = {""};
  for (const IsaInfo& tier : isa_table()) {
    missing.insert(missing.end(), tier.flags.begin(), tier.flags.end());
  }
  for (const std::string& flag : missing) {
    CpuFeatures cpu;
    for (const std::string& other : missing) cpu.flags.emplace_back(other, other != flag);
    for (const IsaInfo& tier : isa_table()) {
      check(cpu.supports(tier) != needs(tier, flag),
            std::string(tier.token) + " on a CPU without '" + flag + "'");
    }
  }
  check(!CpuFeatures().supports(*find_isa("avx2")), "avx2 on a CPU that has nothing");
}
#else
void test_detection() {}
#endif

// A tier is in use once it is forced; one that is not here is refused.
void test_forcing() {
  for (const IsaInfo& tier : isa_table()) {
    bool refused = false;
    try {
      force_isa(tier.token);
    } catch (const std::invalid_argument&) {
      refused = true;
    }
    const bool here = (detected_isas() & bit(tier.isa)) != 0;
    check(refused != here, std::string(tier.token) + " is refused where it is not here");
    check(!here || active_isa().isa == tier.isa, std::string(tier.token) + " is in use");
    force_isa(nullptr);
  }
}

template <class Args>
void check_list(const std::string& family) {
  const std::vector<KernelRow<Args>>& rows = kernel_rows<Args>();
  check(!rows.empty() && rows.back().isa == Isa::Scalar, family + " ends in a scalar row");
  check(rows.back().min_m == 1 && rows.back().m_align == 1, family + ": scalar takes any m");
  for (const KernelRow<Args>& row : rows) {
    const std::string name = row.name;
    check(compiled_isas() & bit(row.isa), name + " is of a tier that is compiled in");
  }
}

// Under any mask: the first row that is allowed and fits, else the last one.
template <class Args, class... Problem>
void check_first(const Problem&... problem) {
  const std::vector<KernelRow<Args>>& rows = kernel_rows<Args>();
  const IsaMask all = bit(isa_table().back().isa) * 2 - 1;
  for (IsaMask mask = 0; mask <= all; ++mask) {
    const KernelRow<Args>& chosen = select<Args>(mask, problem...);
    const KernelRow<Args>* first = rows.data();
    while (first != &rows.back() && !((mask & bit(first->isa)) && first->fits(problem...))) ++first;
    check(&chosen == first, std::string(first->name) + " is chosen, not " + chosen.name);
  }
}

template <class Args, class = void>
struct AsksForNothing : std::false_type {};
template <class Args>
struct AsksForNothing<Args, decltype(void(std::declval<const KernelRow<Args>&>().fits()))>
    : std::true_type {};

template <class Args>
void check_family(const std::string& family) {
  check_list<Args>(family);
  if constexpr (AsksForNothing<Args>::value) check_first<Args>();
}

void test_families() {
#define OCTAVO_FAMILY(folder, Type) check_family<Type##Args>(#folder);
#include "dispatch/families.inc"
  for (const std::int64_t m : {0, 1, 2, 8, 9, 64}) {
    check_first<GemmS8Args>(m);
    for (const std::int64_t blocks : {0, 29, 30, 160}) {
      check_first<GemmBsr16x4S8Args>(m, blocks, std::int64_t{10});
    }
  }
}

// The kernel chosen on a machine whose best tier is `token`.
template <class Args, class... Problem>
void check_choice(const std::string& token, const std::string& wanted, const Problem&... problem) {
  const IsaMask mask = closure_of(token);
  if (mask & ~compiled_isas()) return;
  const std::string chosen = select<Args>(mask, problem...).name;
  check(chosen == wanted, token + ": " + chosen + " is chosen, expected " + wanted);
}

void test_choices() {
  const std::int64_t one = 1, few = 8, many = 9, tiles = 10;
  check_choice<GemmS8Args>("", "gemm_s8s8s32_1x16x4_scalar", many);
  check_choice<GemmS8Args>("scalar", "gemm_s8s8s32_1x16x4_scalar", many);
  check_choice<GemmS8Args>("sse41", "gemm_s8s8s32_1x32x4_sse41", many);
  check_choice<GemmS8Args>("avx2", "gemm_s8s8s32_2x32x4_avx2", few);
  check_choice<GemmS8Args>("avxvnni", "gemm_u8s8s32_6x16x4_avxvnni", many);
  check_choice<GemmS8Args>("avx512vnni", "gemm_u8s8s32_8x48x4_avx512vnni", many);
  check_choice<GemmS8Args>("avx512vbmi2", "gemm_u8s8s32_8x48x4_avx512vnni", many);
  check_choice<GemmS8Args>("amx_int8", "gemm_u8s8s32_8x48x4_avx512vnni", one);
  check_choice<GemmS8Args>("amx_int8", "gemm_u8s8s32_32x32x64_amx_int8", one + 1);
  check_choice<GemmS8Args>("neon", "gemm_s8s8s32_2x16x4_neon", few);
  check_choice<GemmS8Args>("neon_dotprod", "gemm_s8s8s32_8x16x4_neon_dotprod", many);
  check_choice<GemmS8Args>("neon_i8mm", "gemm_s8s8s32_8x16x4_neon_dotprod", one);
  check_choice<GemmS8Args>("neon_i8mm", "gemm_s8s8s32_8x16x8_neon_i8mm", few);

  const std::string blocks512 = "gemm_bsr16x4_u8s8s32_12x16x4_avx512vnni";
  check_choice<GemmBsr16x4S8Args>("scalar", "gemm_bsr16x4_s8s8s32_1x16x4_scalar", many, tiles,
                                  tiles);
  check_choice<GemmBsr16x4S8Args>("avx2", "gemm_bsr16x4_s8s8s32_4x16x4_avx2", many, tiles, tiles);
  check_choice<GemmBsr16x4S8Args>("avxvnni", "gemm_bsr16x4_u8s8s32_6x16x4_avxvnni", few, tiles,
                                  tiles);
  check_choice<GemmBsr16x4S8Args>("avx512vbmi2", blocks512, many, 3 * tiles, tiles);
  check_choice<GemmBsr16x4S8Args>("amx_int8", blocks512, many, 3 * tiles - 1, tiles);
  check_choice<GemmBsr16x4S8Args>("amx_int8", blocks512, few, 3 * tiles, tiles);
  check_choice<GemmBsr16x4S8Args>("amx_int8", "gemm_bsr16x4_u8s8s32_64x16x64_amx_int8", many,
                                  3 * tiles, tiles);

  check_choice<GemmBitmapS8Args>("avx512vnni", "gemm_bitmap_s8s8s32_1x16x4_scalar");
  check_choice<GemmBitmapS8Args>("avx512vbmi2", "gemm_bitmap_u8s8s32_4x64x4_avx512vbmi2");
  check_choice<ExpandS8Args>("avx512vnni", "expand_s8_1x64_avx2");
  check_choice<ExpandS8Args>("amx_int8", "expand_s8_1x64_avx512vbmi2");
  check_choice<BroadcastBsr1x4S8Args>("avxvnni", "broadcast_bsr1x4_u8s8s32_32x1x4_avxvnni");
  check_choice<BroadcastBsr1x4S8Args>("amx_int8", "broadcast_bsr1x4_u8s8s32_64x1x4_avx512vnni");
  check_choice<BroadcastBsr4x1S8Args>("sse41", "broadcast_bsr4x1_s8s8s32_32x4x4_scalar");
  check_choice<BroadcastBsr4x1S8Args>("avx2", "broadcast_bsr4x1_s8s8s32_32x4x4_avx2");
  check_choice<BroadcastBsr4x1S8Args>("amx_int8", "broadcast_bsr4x1_u8s8s32_64x4x4_avx512vnni");
  check_choice<TransposeS8Args>("avx512vnni", "transpose_s8_8x16_avx2");
  check_choice<QuantizeRowsArgs>("avxvnni", "quantize_rows_f32_avx2");
  check_choice<EpilogueArgs>("amx_int8", "epilogue_s32f32_avx512vnni");
  check_choice<SoftmaxArgs>("scalar", "softmax_f32_scalar");
  check_choice<SoftmaxArgs>("neon_i8mm", "softmax_f32_neon");
}

using Slots = KernelPair<GatherS8Args, BroadcastWindowedS8Args>;

void check_slots(const std::string& token, const std::string& gather, const std::string& spread) {
  const IsaMask mask = closure_of(token);
  if (mask & ~compiled_isas()) return;
  const Slots slots = select_pair<GatherS8Args, BroadcastWindowedS8Args>(mask);
  check(slots.kernel.name == gather, token + ": " + slots.kernel.name + ", expected " + gather);
  check(slots.partner.name == spread, token + ": " + slots.partner.name + ", expected " + spread);
}

void test_slot_pairs() {
  check_slots("scalar", "gather_s8s8s32_1x16x4_scalar", "broadcast_windowed_s8s8s32_32x1x1_scalar");
  check_slots("sse41", "gather_s8s8s32_4x16x4_sse41", "broadcast_windowed_s8s8s32_32x1x4_sse41");
  check_slots("avx2", "gather_s8s8s32_4x16x4_avx2", "broadcast_windowed_s8s8s32_32x1x4_avx2");
  check_slots("avxvnni", "gather_u8s8s32_4x16x4_avxvnni",
              "broadcast_windowed_u8s8s32_32x1x4_avxvnni");
  check_slots("avx512vnni", "gather_u8s8s32_4x16x4_avx512vnni",
              "broadcast_windowed_u8s8s32_32x1x4_avx512vnni");
  check_slots("amx_int8", "gather_u8s8s32_8x16x4_avx512vbmi2",
              "broadcast_windowed_u8s8s32_32x1x4_avx512vnni");
  // A tier keeps its gather kernel: it has a spread kernel for the same codes.
  for (const IsaInfo& tier : isa_table()) {
    const Slots slots = select_pair<GatherS8Args, BroadcastWindowedS8Args>(tier.closure);
    const KernelRow<GatherS8Args>& best = select<GatherS8Args>(tier.closure);
    check(&slots.kernel == &best, std::string(tier.token) + " has no partner for " + best.name);
  }
  const IsaMask all = bit(isa_table().back().isa) * 2 - 1;
  for (IsaMask mask = 0; mask <= all; ++mask) {
    const Slots slots = select_pair<GatherS8Args, BroadcastWindowedS8Args>(mask);
    check(slots.kernel.form == slots.partner.form,
          std::string(slots.kernel.name) + " and " + slots.partner.name + " read the same codes");
  }
}

// A tier that lacks the partner falls back with both kernels.
void test_a_missing_partner() {
  const std::vector<GatherS8Row> gathers = {
      {{{}, ActivationEncoding::kU8, 26}, Isa::Avx512Vnni, "u8", nullptr},
      {{{}, ActivationEncoding::kS8, 26}, Isa::Avx2, "s8", nullptr},
      {{{}, ActivationEncoding::kS8, 26}, Isa::Scalar, "scalar", nullptr},
  };
  const std::vector<BroadcastWindowedS8Row> spreads = {
      {{{}, ActivationEncoding::kU8}, Isa::AvxVnni, "u8", nullptr},
      {{{}, ActivationEncoding::kS8}, Isa::Avx2, "s8", nullptr},
      {{{}, ActivationEncoding::kS8}, Isa::Scalar, "scalar", nullptr},
  };
  const IsaMask avx2 = closure_of("avx2"), avx512 = closure_of("avx512vnni");
  const auto names = [&](IsaMask mask) {
    const Slots slots = first_pair(gathers, spreads, mask);
    return std::string(slots.kernel.name) + "+" + slots.partner.name;
  };
  check(names(avx512) == "s8+s8", "no spread row for u8: " + names(avx512));
  check(names(avx512 | bit(Isa::AvxVnni)) == "u8+u8", "another tier's spread row");
  check(names(bit(Isa::Avx512Vnni)) == "scalar+scalar", "no pair: " + names(bit(Isa::Avx512Vnni)));
  check(names(avx2) == "s8+s8" && names(0) == "scalar+scalar", "plain pairs");
}

}  // namespace
}  // namespace octavo_test

int main() {
  using namespace octavo_test;
  test_closures();
  test_detection();
  test_forcing();
  test_families();
  test_choices();
  test_slot_pairs();
  test_a_missing_partner();
  return finish();
}
