/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Where no function can be hooked, time is found by sampling the CPU clock.
 *
 * A sample counts for alloc when get_page_from_freelist() is on its stack, and for
 * zero.alloc when it also stopped in clear_page_*().  It counts for zero.user when
 * folio_zero_user() or clear_huge_page() is on its stack instead.  The order and node
 * of a sample in an allocation are known only when that allocation ends: the task's
 * next alloc event, e.g. kmem:mm_page_alloc, settles it.
 *
 *   MT_ALLOC_LO/HI, MT_USER_LO/HI, MT_CLEAR<n>_LO/HI: address ranges, HI exclusive
 */
#define MT_SAMPLE_DEPTH 24
#define MT_SAMPLE_ORDERS 20

struct mt_sample_stack_t {
	u64 ip[MT_SAMPLE_DEPTH];
};
struct mt_sample_pending_t {
	u64 tid;
	u64 alloc;
	u64 zero;
};
struct mt_sample_cell_t {
	u64 alloc;
	u64 zero;
};
/* Totals of one CPU.  Every sample counts in `all`; the other fields count parts of it. */
struct mt_sample_total_t {
	u64 all;
	u64 kernel;
	u64 alloc;
	u64 zero;
	u64 user;
	u64 unsettled_alloc;
	u64 unsettled_zero;
	u64 no_stack;
	u64 recorder;
};
BPF_PERCPU_ARRAY(mt_sample_stack, struct mt_sample_stack_t, 1);
BPF_PERCPU_ARRAY(mt_sample_pending, struct mt_sample_pending_t, 1);
BPF_PERCPU_ARRAY(mt_sample_total, struct mt_sample_total_t, 1);
BPF_PERCPU_ARRAY(mt_sample_cells, struct mt_sample_cell_t, MT_SIZED);

struct mt_perf_event_data {
	struct pt_regs regs;
	u64 sample_period;
	u64 addr;
};

static __always_inline int mt_in(u64 ip, u64 low, u64 high)
{
	return ip >= low && ip < high;
}

static __always_inline int mt_in_clear(u64 ip)
{
	return mt_in(ip, MT_CLEAR0_LO, MT_CLEAR0_HI) || mt_in(ip, MT_CLEAR1_LO, MT_CLEAR1_HI) ||
	       mt_in(ip, MT_CLEAR2_LO, MT_CLEAR2_HI) || mt_in(ip, MT_CLEAR3_LO, MT_CLEAR3_HI);
}

int mt_sample(struct mt_perf_event_data *ctx)
{
	u64 ip = ctx->regs.ip, task = bpf_get_current_pid_tgid();
	struct mt_sample_pending_t *pending;
	int zero = 0, in_alloc = 0, in_user = 0, in_clear;
	struct mt_sample_total_t *total;
	struct mt_conf_t *conf = mt_gate();
	struct mt_sample_stack_t *stack;
	long got;

	if (!conf)
		return 0;
	total = mt_sample_total.lookup(&zero);
	stack = mt_sample_stack.lookup(&zero);
	pending = mt_sample_pending.lookup(&zero);
	if (!total || !stack || !pending || !mt_wanted(conf, task, 127))
		return 0;
	total->all++;
	if (!(ip >> 63))
		return 0;
	total->kernel++;
	if (task >> 32 == conf->recorder) {
		total->recorder++;
		return 0;
	}
	got = bpf_get_stack(ctx, stack, sizeof(*stack), 0);
	if (got <= 0) {
		total->no_stack++;
		return 0;
	}
#pragma unroll
	for (int i = 0; i < MT_SAMPLE_DEPTH; i++) {
		u64 frame = stack->ip[i];

		if (i * 8 >= got)
			break;
		in_alloc |= mt_in(frame, MT_ALLOC_LO, MT_ALLOC_HI);
		in_user |= mt_in(frame, MT_USER_LO, MT_USER_HI);
	}
	in_clear = mt_in_clear(ip);
	if (in_alloc) {
		if (pending->tid != (u32)task) {
			total->unsettled_alloc += pending->alloc;
			total->unsettled_zero += pending->zero;
			pending->tid = (u32)task;
			pending->alloc = 0;
			pending->zero = 0;
		}
		total->alloc++;
		pending->alloc++;
		if (in_clear) {
			total->zero++;
			pending->zero++;
		}
	} else if (in_user) {
		total->user++;
	}
	return 0;
}

/* Drops the samples of an allocation that a filter rejects: they must not go to the next one. */
static __always_inline void mt_sample_forget(u64 task)
{
	struct mt_sample_pending_t *pending;
	int zero = 0;

	pending = mt_sample_pending.lookup(&zero);
	if (pending && pending->tid == (u32)task) {
		pending->alloc = 0;
		pending->zero = 0;
	}
}

/* Counts the samples of an allocation that has no cell: it failed, or its node is not known. */
static __always_inline void mt_sample_unsettled(u64 task)
{
	struct mt_sample_pending_t *pending;
	struct mt_sample_total_t *total;
	int zero = 0;

	pending = mt_sample_pending.lookup(&zero);
	total = mt_sample_total.lookup(&zero);
	if (!pending || !total || pending->tid != (u32)task)
		return;
	total->unsettled_alloc += pending->alloc;
	total->unsettled_zero += pending->zero;
	pending->alloc = 0;
	pending->zero = 0;
}

/* Adds the task's pending samples to the cell of the allocation that has just ended. */
static __always_inline void mt_sample_settle(struct mt_occurrence *o)
{
	struct mt_sample_pending_t *pending;
	struct mt_sample_cell_t *cell;
	int zero = 0, index;

	pending = mt_sample_pending.lookup(&zero);
	if (!pending || !pending->alloc || pending->tid != (u32)o->task)
		return;
	if (o->nid < 0 || o->nid >= MT_NIDS || o->order < 0 || o->order >= MT_SAMPLE_ORDERS) {
		mt_sample_unsettled(o->task);
		return;
	}
	index = (o->nid * MT_SAMPLE_ORDERS + o->order) * 2 + (o->flags & MT_FLAG_ZEROED ? 1 : 0);
	cell = mt_sample_cells.lookup(&index);
	if (!cell)
		return;
	cell->alloc += pending->alloc;
	cell->zero += pending->zero;
	pending->alloc = 0;
	pending->zero = 0;
}
