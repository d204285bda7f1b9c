/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Who pays: totals per process and event.  Each CPU keeps, for each event, the
 * sums of the task it last saw and moves them to the shared table when another
 * comes, so that the table is not touched on every event.
 */
struct mt_task_sum_t {
	u64 count;
	u64 pages;
	u64 total_ns;
};
struct mt_task_slot_t {
	u64 tgid;	/* plus one, so that an untouched slot belongs to nobody */
	u64 age;
	char comm[16];
	struct mt_task_sum_t sum;
};
struct mt_task_key_t {
	u32 tgid;
	u32 event;
};
struct mt_task_t {
	char comm[16];
	struct mt_task_sum_t sum;
};
BPF_PERCPU_ARRAY(mt_task_slot, struct mt_task_slot_t, MT_NEVENTS);
BPF_PERCPU_ARRAY(mt_task_new, struct mt_task_t, 1);
BPF_PERCPU_ARRAY(mt_tasks_dropped, u64, 1);
BPF_HASH(mt_tasks, struct mt_task_key_t, struct mt_task_t, 16384);

static __always_inline void mt_task_put(struct mt_task_slot_t *slot, u32 event)
{
	struct mt_task_key_t key = { .tgid = slot->tgid - 1, .event = event };
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

static __always_inline void mt_task_add(struct mt_occurrence *o)
{
	u64 tgid = o->task >> 32;
	struct mt_task_slot_t *slot;
	int event = o->event;

	slot = mt_task_slot.lookup(&event);
	if (!slot)
		return;
	if (slot->tgid != tgid + 1) {
		if (slot->tgid)
			mt_task_put(slot, event);
		slot->tgid = tgid + 1;
		slot->age = 0;
	}
	/* A task may change its name (exec): look again now and then. */
	if (!(slot->age++ & 15))
		bpf_get_current_comm(slot->comm, sizeof(slot->comm));
	slot->sum.count++;
	if (o->pages != MT_PAGES_UNKNOWN)
		slot->sum.pages += o->pages;
	if (o->dur != MT_UNKNOWN_NS)
		slot->sum.total_ns += o->dur;
}
