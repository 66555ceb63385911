// SPDX-License-Identifier: GPL-2.0
/*
 * Hardened usercopy's check, and as much of a kernel's memory as it looks at: a buffer
 * that it takes for one of vhost-net's, in a compound page.
 */
#define __check_object_size	kernels_check_object_size
#define init_module		usercopy_init_module
#include USERCOPY_C
#include PHYSADDR_C
#include INTERNAL_H
#include "ringpath.h"

unsigned long page_offset_base;
unsigned long vmemmap_base;
unsigned long vmalloc_base;
unsigned long phys_base;
struct mem_section **mem_section;
struct cpuinfo_x86 boot_cpu_data;
#ifdef CONFIG_X86_5LEVEL
unsigned int __pgtable_l5_enabled;
#endif

/* As in mm/vmalloc.c. */
bool is_vmalloc_addr(const void *x)
{
	unsigned long addr = (unsigned long)x;

	return addr >= VMALLOC_START && addr < VMALLOC_END;
}

void *ringpath_harden(void *buf, void **key)
{
	unsigned long section = 1UL << PA_SECTION_SHIFT;
	struct folio *folio;

	page_offset_base = round_down((unsigned long)buf, section);
	vmalloc_base = -1UL << 40;
	boot_cpu_data.x86_phys_bits = 46;
	mem_section = ringpath_alloc(NR_SECTION_ROOTS * sizeof(*mem_section));
	mem_section[0] = ringpath_alloc(SECTIONS_PER_ROOT * sizeof(**mem_section));
	mem_section[0]->section_mem_map = SECTION_MARKED_PRESENT |
					  SECTION_HAS_MEM_MAP | SECTION_IS_EARLY;
	vmemmap_base = (unsigned long)ringpath_alloc((section >> PAGE_SHIFT) *
						     sizeof(struct page));
	folio = page_folio(virt_to_page(buf));
	__folio_set_head(folio);
	folio_set_order(folio, 3);
#ifdef HAS_UCOPYSIZE
	*key = &validate_usercopy_range;
#endif
	return kernels_check_object_size;
}
