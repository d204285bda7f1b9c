/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Who pays: totals per process and event.  Each CPU keeps the running task's
 * sums in a slot and moves them to the shared table when another task comes,
 * so that the table is not touched on every event.
 */
struct mt_task_sum_t {
	u64 count;
	u64 pages;
	u64 total_ns;
};
struct mt_task_slot_t {
	u64 tgid;
	u64 age;
	char comm[16];
	struct mt_task_sum_t sum[MT_NEVENTS];
};
struct mt_task_key_t {
	u32 tgid;
	u32 event;
};
struct mt_task_t {
	char comm[16];
	struct mt_task_sum_t sum;
};
BPF_PERCPU_ARRAY(mt_task_slot, struct mt_task_slot_t, 1);
BPF_PERCPU_ARRAY(mt_task_new, struct mt_task_t, 1);
BPF_PERCPU_ARRAY(mt_tasks_dropped, u64, 1);
BPF_HASH(mt_tasks, struct mt_task_key_t, struct mt_task_t, 16384);

static __always_inline void mt_task_put(struct mt_task_slot_t *slot, u32 event)
{
	struct mt_task_key_t key = { .tgid = slot->tgid, .event = event };
	struct mt_task_sum_t *sum = &slot->sum[event];
	struct mt_task_t *task, *fresh;
	int zero = 0;

	if (!sum->count)
		return;
	task = mt_tasks.lookup(&key);
	if (!task) {
		fresh = mt_task_new.lookup(&zero);
		if (!fresh)
			return;
		__builtin_memcpy(fresh->comm, slot->comm, sizeof(fresh->comm));
		mt_tasks.insert(&key, fresh);
		task = mt_tasks.lookup(&key);
	}
	if (task) {
		__builtin_memcpy(task->comm, slot->comm, sizeof(task->comm));
		__sync_fetch_and_add(&task->sum.count, sum->count);
		__sync_fetch_and_add(&task->sum.pages, sum->pages);
		__sync_fetch_and_add(&task->sum.total_ns, sum->total_ns);
	} else {
		u64 *dropped = mt_tasks_dropped.lookup(&zero);

		if (dropped)
			*dropped += sum->count;
	}
	sum->count = 0;
	sum->pages = 0;
	sum->total_ns = 0;
}

static __always_inline void mt_task_add(struct mt_occurrence *o)
{
	u64 tgid = o->task >> 32;
	struct mt_task_slot_t *slot;
	int zero = 0;

	slot = mt_task_slot.lookup(&zero);
	if (!slot || o->event >= MT_NEVENTS)
		return;
	/* tgid + 1, so that an untouched slot belongs to nobody. */
	if (slot->tgid != tgid + 1) {
		if (slot->tgid) {
			slot->tgid--;
#pragma unroll
			for (u32 event = 0; event < MT_NEVENTS; event++)
				mt_task_put(slot, event);
		}
		slot->tgid = tgid + 1;
		slot->age = 0;
	}
	/* A task may change its name (exec): look again now and then. */
	if (!(slot->age++ & 15))
		bpf_get_current_comm(slot->comm, sizeof(slot->comm));
	slot->sum[o->event].count++;
	slot->sum[o->event].pages += o->pages;
	if (o->dur != MT_UNKNOWN_NS)
		slot->sum[o->event].total_ns += o->dur;
}
