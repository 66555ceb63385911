# SPDX-License-Identifier: GPL-2.0
"""
What the models know of the helper and of the kernel: which names are shared
memory, which are known to be constant and which do not matter.
"""

SOURCES = ('include/linux/mmu_range_mirror.h', 'mm/mmu_range_mirror.c',
	   'include/linux/mmu_mirror_window.h', 'mm/mmu_mirror_window.c',
	   'mm/mmu_mirror_tlb.c')

# Shared memory. What is per mirror takes the mirror's suffix ("window2").
PER_DOMAIN = {'count', 'published', 'mask', 'dropped', 'drained'}
PER_MIRROR = {'kaddr', 'invalidate_seq', 'marked', 'shadow', 'flushing'}
PER_TLB = {'marks', 'flushed', 'cached'}
PER_MM = {'mm_seq', 'mm_lock', 'pte', 'dirty', 'online',
	  'ptl'}
# Of each thread its own: what is gathered, and the answer to its command.
PER_THREAD = {'nr', 'full', 'counted', 'done'}
# Struct members that go by another name in the models.
RENAMED = {'spin': 'window_lock'}
LOCKS = {'window_lock', 'mm_lock', 'ptl'}
ATOMICS = {'dropped', 'drained', 'marks', 'flushed', 'flushing'}
POINTERS = {'kaddr', 'shadow'}

CONSTANT_MEMBERS = {'mutex': 0, 'rwsem': 0, 'removed': 0, 'writable': 1,
		    'sleeps': 0, 'closed': 0}
# Counts and hints that no order depends on.
STATISTICS = {'installed', 'dropped_pages', 'nr_dirtied', 'collisions', 'drops',
	      'missed',
	      'nr_added', 'nr_ranges', 'nr_commands', 'nr_full', 'nr_syncs'}

CONSTANTS = {'NULL': 0, 'EAGAIN': 11, 'true': 1, 'false': 0, 'MMU_MIRROR_COMPLETED': 16}
# Nobody adds a range to what is gathered: it is all, or nothing. No load meets a
# memory error.
CONSTANT_CALLS = {'mmu_notifier_range_blockable': 1, 'window_page_ok': 1,
		  'window_shuns_page': 0,
		  'window_is_sparse': 0, 'window_any_mapped': 1, 'window_have_room': 1,
		  'IS_ENABLED': 1, 'offset_in_page': 0, 'array_index_nospec': 0,
		  'gather_is_full': 1, 'trace_mmu_mirror_wait_enabled': 0}
# No memory is shared through these, or none that a test is about. One only drops more
# than the window had to.
IGNORED = {'preempt_disable', 'preempt_enable', 'migrate_disable', 'migrate_enable',
	   'WARN_ON_ONCE', 'cpu_relax',
	   'mmu_range_mirror_inject', 'domain_account_wait', 'domain_account_interrupts',
	   'domain_drop_range',
	   'mmu_range_mirror_assert_held',
	   'mmu_mirror_window_prefetch', 'window_set_shadow', 'release_pages',
	   'window_mark', '__acquire', 'waiter_enter', 'waiter_leave',
	   'trace_mmu_mirror_invalidate', 'trace_mmu_mirror_wait',
	   'trace_mmu_mirror_populate', 'trace_mmu_mirror_collision',
	   'trace_mmu_mirror_dirty', 'trace_mmu_mirror_flush'}
# Addresses, sizes and times: their values decide nothing here.
OPAQUE_CALLS = {'this_cpu_ptr', 'per_cpu_ptr', 'smp_processor_id', 'min', 'max', 'min_t',
		'ktime_get_ns', 'BITS_TO_LONGS', 'page_folio'}
OPAQUE_NAMES = {'PAGE_SIZE', 'MMU_MIRROR_CHUNK', 'PAGE_SHIFT', 'BITS_PER_LONG', 'nr_cpu_ids',
		'FOLL_WRITE', 'WINDOW_RETRIES', 'drain_mask', 'mm', 'tlb', 'cpu', 'folio',
		'notifier'}
# The same object, seen as its parent or child.
CASTS = {'container_of', 'to_window', 'likely', 'unlikely', 'cpumask_bits'}
# The mirrors that a template may be about: which hooks they have.
MIRRORS = {
	'window': {'invalidate': 'window_invalidate', 'wait': 'window_wait'},
	'device': {'invalidate': 'device_invalidate', 'tlb': 'device_tlb',
		   'flush_all': 'device_flush_all', 'sync': 'device_sync'},
	'gatherer': {'invalidate': 'gatherer_invalidate', 'tlb': 'device_tlb',
		     'flush_all': 'device_flush_all', 'sync': 'device_sync'},
}
# Members that say whether there is such a hook.
OPTIONAL_HOOKS = {'wait', 'tlb'}
# What is set in the state that a test starts in.
STARTS = {
	'published': {'published': '1', 'mask': '1'},
	'unpublished': {},
	'cached': {'cached': 'page'},
	'empty': {},
}
# Here conditions on opaque values are the caller's mistakes: they are false.
CHECKS_ARGUMENTS = {'__mmu_mirror_window_ptr'}
