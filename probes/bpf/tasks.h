/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Who pays, and for what: totals per process, event and detail (order, node, root).
 * For each event, a CPU keeps the sums of the process and detail that it last saw.  It
 * moves them to the shared table when another process or detail comes, so that the
 * table is not touched on every event.
 *
 * The detail, from the lowest byte up: order (255: unknown), two bytes of node (65535:
 * unknown), MT_DETAIL_* bits, outermost and innermost root.* (event number plus one;
 * 0: none).
 */
#define MT_DETAIL_ZEROED 1	/* by the allocator, going by the gfp flags and init_on_alloc */
#define MT_DETAIL_ASKED 2	/* __GFP_ZERO */
#define MT_DETAIL_MOVABLE 4	/* __GFP_MOVABLE */
#define MT_DETAIL_REMOTE 8	/* the memory is not on the CPU's node */

BPF_PERCPU_ARRAY(mt_task_slot, struct mt_task_slot_t, MT_NEVENTS);
BPF_PERCPU_ARRAY(mt_task_new, struct mt_task_t, 1);
BPF_PERCPU_ARRAY(mt_tasks_dropped, u64, 1);
BPF_HASH(mt_tasks, struct mt_task_key_t, struct mt_task_t, 65536);

static __always_inline void mt_task_put(struct mt_task_slot_t *slot, u32 event)
{
	struct mt_task_key_t key = {
		.tgid = slot->tgid - 1, .event = event, .detail = slot->detail,
	};
	struct mt_task_t *task, *fresh;
	int zero = 0;

	task = mt_tasks.lookup(&key);
	if (!task) {
		fresh = mt_task_new.lookup(&zero);
		if (!fresh)
			return;
		mt_tasks.insert(&key, fresh);
		task = mt_tasks.lookup(&key);
	}
	if (task) {
		__builtin_memcpy(task->comm, slot->comm, sizeof(task->comm));
		/* At its very end a task has no number any more. */
		if (slot->shown)
			task->shown = slot->shown;
		__sync_fetch_and_add(&task->sum.count, slot->sum.count);
		__sync_fetch_and_add(&task->sum.pages, slot->sum.pages);
		__sync_fetch_and_add(&task->sum.total_ns, slot->sum.total_ns);
	} else {
		u64 *dropped = mt_tasks_dropped.lookup(&zero);

		if (dropped)
			*dropped += slot->sum.count;
	}
	slot->sum.count = 0;
	slot->sum.pages = 0;
	slot->sum.total_ns = 0;
}

static __always_inline u64 mt_detail(struct mt_occurrence *o)
{
	u64 bits = 0;

	if (o->flags & MT_FLAG_ZEROED)
		bits |= MT_DETAIL_ZEROED;
	if (o->gfp & MT_ZERO_GFP)
		bits |= MT_DETAIL_ASKED;
	if (o->gfp & MT_MOVABLE_GFP)
		bits |= MT_DETAIL_MOVABLE;
#ifdef MT_NID_SHIFT
	if (o->nid >= 0 && o->nid != bpf_get_numa_node_id())
		bits |= MT_DETAIL_REMOTE;
#endif
	return (u8)o->order | (u64)(u16)o->nid << 8 | bits << 24 | (u64)o->root << 32 |
	       (u64)o->within << 40;
}

static __always_inline void mt_task_add(struct mt_conf_t *conf, struct mt_occurrence *o)
{
	u64 tgid = o->task >> 32, detail = mt_detail(o);
	struct mt_task_slot_t *slot;
	int event = o->event;

	slot = mt_task_slot.lookup(&event);
	if (!slot)
		return;
	if (slot->tgid != tgid + 1 || slot->detail != detail) {
		if (slot->tgid)
			mt_task_put(slot, event);
		if (slot->tgid != tgid + 1) {
			slot->age = 0;
			slot->shown = (u32)(mt_shown(conf, o->task) >> 32) + 1;
		}
		slot->tgid = tgid + 1;
		slot->detail = detail;
	}
	/* A task may change its name (exec), so read it again now and then. */
	if (!(slot->age++ & 15))
		bpf_get_current_comm(slot->comm, sizeof(slot->comm));
	slot->sum.count += o->count ? o->count : 1;
	if (o->pages != MT_PAGES_UNKNOWN)
		slot->sum.pages += o->pages;
	if (o->dur != MT_UNKNOWN_NS)
		slot->sum.total_ns += o->dur;
}
