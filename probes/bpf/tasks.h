/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Who pays, and for what: totals per process, event and detail (order, node, root).
 * For each event, a CPU keeps the sums of the process and detail that it last saw.  It
 * moves them to a shared table when another process or detail comes, so that the
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
/* Keys that were put into a table, and events that found it full. */
BPF_PERCPU_ARRAY(mt_tasks_added, u64, 1);
BPF_PERCPU_ARRAY(mt_tasks_dropped, u64, 1);
/*
 * Of two tables like this one mt_tasks holds the one that is written.  User space puts the other
 * one in its place to empty it (probes/recorder/tasktable.py).
 */
BPF_HASH(mt_task_table, struct mt_task_key_t, struct mt_task_t, MT_SIZED);
BPF_TABLE("array_of_maps$mt_task_table", u32, u32, mt_tasks, 1);

static __always_inline void mt_task_put(struct mt_task_slot_t *slot, u32 event)
{
	struct mt_task_key_t key = {
		.tgid = slot->tgid - 1, .event = event, .detail = slot->detail,
	};
	struct mt_task_t *task = 0;
	int zero = 0, added = 0;
	u64 *sum;
	void *table;

	table = mt_tasks.lookup(&zero);
	if (table)
		task = bpf_map_lookup_elem(table, &key);
	if (table && !task) {
		added = !bpf_map_update_elem(table, &key, &slot->task, BPF_NOEXIST);
		/* Another CPU may have been first. */
		if (!added)
			task = bpf_map_lookup_elem(table, &key);
	}
	if (added) {
		sum = mt_tasks_added.lookup(&zero);
		if (sum)
			__sync_fetch_and_add(sum, 1);
	} else if (task) {
		__builtin_memcpy(task->comm, slot->task.comm, sizeof(task->comm));
		/* At its very end a task has no number any more. */
		if (slot->task.shown)
			task->shown = slot->task.shown;
		__sync_fetch_and_add(&task->sum.count, slot->task.sum.count);
		__sync_fetch_and_add(&task->sum.pages, slot->task.sum.pages);
		__sync_fetch_and_add(&task->sum.total_ns, slot->task.sum.total_ns);
	} else {
		sum = mt_tasks_dropped.lookup(&zero);
		if (sum)
			__sync_fetch_and_add(sum, slot->task.sum.count);
	}
	slot->task.sum.count = 0;
	slot->task.sum.pages = 0;
	slot->task.sum.total_ns = 0;
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
			slot->task.shown = (u32)(mt_shown(conf, o->task) >> 32) + 1;
		}
		slot->tgid = tgid + 1;
		slot->detail = detail;
	}
	/* A task may change its name (exec), so read it again now and then. */
	if (!(slot->age++ & 15))
		bpf_get_current_comm(slot->task.comm, sizeof(slot->task.comm));
	slot->task.sum.count += o->count ? o->count : 1;
	if (o->pages != MT_PAGES_UNKNOWN)
		slot->task.sum.pages += o->pages;
	if (o->dur != MT_UNKNOWN_NS)
		slot->task.sum.total_ns += o->dur;
}
