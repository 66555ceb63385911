// SPDX-License-Identifier: GPL-2.0
#include IOV_ITER_C
