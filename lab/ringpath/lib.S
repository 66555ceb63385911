/* SPDX-License-Identifier: GPL-2.0 */
/* The kernel's own routines of user accesses, and others that copy: built in. */
#undef MODULE
#include GETUSER_S
	.purgem check_range
#include PUTUSER_S
#include COPY_USER_S
#include COPY_MC_S
#include MEMCPY_S
