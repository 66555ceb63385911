/* SPDX-License-Identifier: GPL-2.0 */
/* The kernel's own routines of user accesses; it has them built in. */
#undef MODULE
#include GETUSER_S
	.purgem check_range
#include PUTUSER_S
#include COPY_USER_S
