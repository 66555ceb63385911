// SPDX-License-Identifier: GPL-2.0
/*
 * What scripts/coccinelle/api/mmu_range_mirror.cocci has to find here, and
 * what it must not. Lines that it reports say so; nothing else does, and
 * nobody compiles this.
 */

static int lookup(struct mine *m)
{
	unsigned long seq;

again:
	seq = mmu_interval_read_begin(&m->notifier); /* reported */
	get_user_pages_fast(m->addr, 1, FOLL_WRITE, &m->page);
	mutex_lock(&m->lock);
	if (mmu_interval_read_retry(&m->notifier, seq)) { /* reported */
		mutex_unlock(&m->lock);
		goto again;
	}
	mutex_unlock(&m->lock);
	return 0;
}

static bool mine_invalidate(struct mmu_interval_notifier *mni,
			    const struct mmu_notifier_range *range,
			    unsigned long cur_seq)
{
	mmu_interval_set_seq(mni, cur_seq); /* reported */
	return true;
}

static const struct mmu_notifier_ops paired = { /* reported */
	.release = mine_release,
	.invalidate_range_start = mine_start,
	.invalidate_range_end = mine_end,
};

static const struct mmu_notifier_ops start_only = { /* reported */
	.invalidate_range_start = mine_start,
	.release = mine_release,
};

static const struct mmu_notifier_ops tlb_only = {
	.arch_invalidate_secondary_tlbs = mine_flush,
};

static void mine_unmap(struct mine *m)
{
	if (m->writable)
		set_page_dirty(m->page); /* reported */
}

static void mine_zap_all(struct mine *m)
{
	struct folio *folio;

	while ((folio = mine_next(m)))
		folio_mark_dirty(folio); /* reported */
}

/* Under the folio's lock, by who has pinned it: right. */
static void mine_unpin(struct mine *m)
{
	set_page_dirty_lock(m->page);
	unpin_user_page(m->page);
}

/* At establishment: right. */
static void mine_map(struct mine *m)
{
	set_page_dirty(m->page);
}

static int use_mirror(struct mine *m)
{
	unsigned long seq = mmu_range_mirror_begin(&m->mirror);

	mmu_range_mirror_lock(&m->mirror);
	if (mmu_range_mirror_retry(&m->mirror, seq))
		return -EAGAIN;
	mmu_range_mirror_mark_dirty(&m->mirror, m->folio);
	return 0;
}
