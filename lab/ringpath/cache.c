// SPDX-License-Identifier: GPL-2.0
#include CACHE_C
