// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/xmm_pairs.h"

#include "kernels/stream_read/ymm.h"

namespace octavo {

void stream_read_u8_sse41(const StreamReadArgs& args) noexcept { read(args); }

}  // namespace octavo
