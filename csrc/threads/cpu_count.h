// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace octavo {

// The CPUs this process may use: its affinity mask, cut down to the cgroup's CPU quota (rounded
// up). At least 1.
int usable_cpu_count();

}  // namespace octavo
