// SPDX-License-Identifier: GPL-2.0
#include COPY_MC_C
