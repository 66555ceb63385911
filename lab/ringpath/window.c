// SPDX-License-Identifier: GPL-2.0
/*
 * Of windows only the copy is used; nobody invalidates here. The cache is another
 * module, with an exit of its own.
 */
#define mmu_mirror_publish	kernels_mmu_mirror_publish
#define cleanup_module		window_cleanup_module
#include WINDOW_C
#undef mmu_mirror_publish

void mmu_mirror_publish(struct mmu_mirror_domain *domain,
			struct mmu_mirror_cpu *cpu)
{
	cpu->published = 1;
}
