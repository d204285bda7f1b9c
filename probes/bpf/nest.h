/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Pairing entries with exits, and time with the event it belongs to.
 *
 * Open intervals of one task form a stack: an interrupt's events lie wholly
 * inside whatever it interrupted, on the same CPU and with the same current.
 * The context is the task_struct, which no two tasks share: tids are reused
 * before a task has quite ended, and all idle tasks have tid 0.  A frame is
 * matched by a key of its call (stack pointer, or a pointer argument), so that a
 * missed exit shows as a frame left above the match, which is dropped.
 *
 * How many exits were missed is begun - ended of the counters, less what is still open.
 * It can't be counted as frames are dropped: an interrupt between a program's reading
 * the depth and its writing it may leave a frame that nobody meets again.
 *
 * The table is made whole at loading.  It refuses when it is full, and that is
 * counted (no_room).  Task storage would allocate where an allocation is being
 * traced, with the zone's lock held.  A task leaves when it is freed (mt_task_freed).
 */
struct mt_frame_t {
	u64 start;
	u64 key;
	u64 child_ns;
	u32 accepted;	/* pages accepted by the events directly inside */
	s16 order;
	s16 nid;
	s16 nid_requested;
	u8 event;
	u8 accepts;	/* acceptance happened inside */
	u8 root;
	u8 within;
	union {
		struct mt_alloc_frame_t {
			u64 zero_ns;		/* total time of the zero.alloc inside */
			u64 zero_inside_ns;	/* part of zero_ns that other events took */
			u64 zero_end_ns;	/* when the last of them ended */
			u32 zero_pages;
			u32 gfp;
			u8 zero_site;
		} alloc;
		struct mt_many_frame_t {	/* alloc.bulk, alloc.contig */
			u64 pfn;
			u32 gfp;
			u32 pages;	/* alloc.bulk: allocated inside; else: in the range */
			u32 holds;	/* alloc.bulk: the array held pages before */
		} many;
		struct mt_zero_frame_t {	/* zero.alloc */
			u64 address;	/* of the memory or of its struct page; 0: unknown */
			u32 pages;
			u8 site;
		} zero;
		struct mt_zeroed_frame_t {	/* the other zero.*: page or pfn, as known */
			u64 page;
			u64 pfn;
			u32 pages;
		} zeroed;
		struct mt_accept_frame_t {
			u64 pfn;	/* 0: not known yet */
			u32 pages;
			u8 irqs_off;
		} accept;
		struct mt_step_frame_t {	/* accept.step */
			u64 address;
			u32 pages;
			u8 level;
		} step;
		struct mt_hot_frame_t {
			u64 pfn;
			u64 given;	/* pages given to the allocator inside (hot.online) */
			u32 pages;
			s32 stack;
			u8 altmap;
		} hot;
#ifdef MT_GMEM
		struct mt_gmem_frame_t {
			u64 gfn;
			u64 pfn;
			u32 requested;
			u32 flags;
			u16 vm;
			s16 vcpu;
			union {
				struct {
					u64 vcpu;
					u64 taken;	/* kvm_vcpu_stat.pf_taken */
					u64 settled;	/* pf_fixed + pf_emulate + pf_spurious */
				} fault;
				struct {
					u64 pfn_at;	/* where pfn, order go; gmem.map: the vmf */
					u64 order_at;
					u64 zero_from_ns;	/* earliest begin; 0: no zeroing */
				} get;
				struct {
					u64 at;
					u64 pages;	/* in the file at the entry */
					u32 freed;	/* pages freed inside (gmem.punch) */
				} file;
				u64 folio;	/* gmem.free */
				u64 argument;	/* gmem.prefault: address in user space */
			};
		} gmem;
#endif
	};
};
struct mt_frames_t {
	u64 depth;
	struct mt_capture_t {	/* try_to_compact_pages() */
		u64 at;		/* where it leaves the page; 0: it is not running */
		u32 gfp;
		s16 order;
		s16 nid_requested;
	} capture;
	struct mt_frame_t frame[MT_DEPTH];
};
_Static_assert(__builtin_offsetof(struct mt_frames_t, capture.at) == MT_CAPTURE_AT, "layouts.py");
_Static_assert(__builtin_offsetof(struct mt_frames_t, frame) == MT_FRAMES_AT, "layouts.py");
_Static_assert(__builtin_offsetof(struct mt_frame_t, event) == MT_FRAME_EVENT_AT, "layouts.py");
BPF_TABLE("hash", u64, struct mt_frames_t, mt_open, MT_SIZED);
BPF_PERCPU_ARRAY(mt_open_new, struct mt_frames_t, 1);

/* Returns the frames of the current task, or 0 if it has never had any. */
static __always_inline struct mt_frames_t *mt_frames(void)
{
	u64 context = bpf_get_current_task();

	return mt_open.lookup(&context);
}

/* Returns the frames of the current task, which get a place in the table; 0 if there is no room. */
static __always_inline struct mt_frames_t *mt_own_frames(void)
{
	u64 context = bpf_get_current_task();
	struct mt_frames_t *frames = mt_open.lookup(&context), *fresh;
	int zero = 0;

	if (frames)
		return frames;
	fresh = mt_open_new.lookup(&zero);
	if (!fresh)
		return 0;
	mt_open.update(&context, fresh);
	return mt_open.lookup(&context);
}

/*
 * Returns frame i, of MT_DEPTH.  The mask stands where the compiler can't move it, so that the
 * verifier sees the bound.
 */
static __always_inline struct mt_frame_t *mt_at(struct mt_frames_t *frames, u64 i)
{
	asm volatile("" : "+r"(i));
	i &= MT_DEPTH - 1;
	return &frames->frame[i];
}

/*
 * Returns whether memory is left to accept: vm_zone_stat[NR_UNACCEPTED], mm/vmstat.c.  That is
 * exact, because a block is larger than what a CPU may hold back.  If it can't be read: yes.
 */
static __always_inline int mt_unaccepted(void)
{
#ifdef MT_NR_UNACCEPTED
	u64 pages = 0;

	return bpf_probe_read_kernel(&pages, sizeof(pages), (void *)MT_NR_UNACCEPTED) || pages;
#else
	return 1;
#endif
}

/* Returns whether the current task has any interval open. */
static __always_inline int mt_any_open(void)
{
	struct mt_frames_t *frames = mt_frames();

	return frames && frames->depth;
}

/* Returns the frame of the current task's innermost open interval, or 0. */
static __always_inline struct mt_frame_t *mt_top(void)
{
	struct mt_frames_t *frames = mt_frames();
	u64 top;

	if (!frames)
		return 0;
	top = frames->depth - 1;
	return top < MT_DEPTH ? mt_at(frames, top) : 0;
}

/* Returns whether the current task's innermost open interval is of this event. */
static __always_inline int mt_innermost_is(int event)
{
	struct mt_frame_t *top = mt_top();

	return top && top->event == event;
}

/*
 * Returns whether the exit of f was missed, given the key of an interval that begins now.
 * Keys are stack addresses, and stacks grow down: on one stack, a frame that is still open
 * has a higher address than the new one.  (A key that is no stack address is only ever near
 * another of its own event, which does not nest in itself.)
 */
static __always_inline int mt_stale(struct mt_frame_t *f, u64 key)
{
	return key - f->key < 16384;
}

/* Pushes a new innermost frame and returns it; 0 if there is no room, which is counted. */
static __always_inline struct mt_frame_t *mt_push(int event, u64 key)
{
	struct mt_counter_t *counter = mt_counter(event);
	struct mt_frames_t *frames = mt_own_frames();
	struct mt_frame_t *f, *below;
	u64 depth;

	if (!counter)
		return 0;
	if (!frames) {
		counter->no_room++;
		return 0;
	}
	depth = frames->depth;
#pragma unroll
	for (int i = 0; i < MT_DEPTH; i++) {
		u64 top = depth - 1;

		if (top >= MT_DEPTH || !mt_stale(mt_at(frames, top), key))
			break;
		depth = top;
	}
	if (depth >= MT_DEPTH) {
		frames->depth = depth;
		counter->no_room++;
		return 0;
	}
	f = mt_at(frames, depth);
	frames->depth = depth + 1;
	counter->begun++;
	f->key = key;
	f->event = event;
	f->child_ns = 0;
	f->accepted = 0;
	f->accepts = 0;
	f->order = -1;
	f->nid_requested = -1;
	f->nid = -1;
	f->root = 0;
	f->within = 0;
	if (depth > 0 && depth - 1 < MT_DEPTH) {
		below = mt_at(frames, depth - 1);
		f->root = below->root;
		f->within = below->within;
	}
	if (MT_IS_ROOT(event)) {
		if (!f->root)
			f->root = event + 1;
		f->within = event + 1;
	}
	return f;
}

/*
 * Copies the frame (event, key) to *out and removes it with every frame inside it.  Returns 0
 * if there is no such frame.  *parent becomes the frame around it, or 0.
 */
static __always_inline int mt_pop(int event, u64 key, struct mt_frame_t *out,
				  struct mt_frame_t **parent)
{
	struct mt_frames_t *frames = mt_frames();
	struct mt_frame_t *innermost;
	struct mt_counter_t *counter;
	u64 depth, at;

	*parent = 0;
	if (!frames)
		return 0;
	depth = frames->depth;
	/* It is nearly always the innermost frame. */
	at = depth - 1;
	if (at >= MT_DEPTH)
		return 0;
	innermost = mt_at(frames, at);
	if (innermost->key != key || innermost->event != event) {
		at = MT_DEPTH;
#pragma unroll
		for (u32 i = 0; i < MT_DEPTH; i++) {
			struct mt_frame_t *f = &frames->frame[i];

			if (i < depth && f->key == key && f->event == event)
				at = i;
		}
	}
	if (at >= MT_DEPTH)
		return 0;
	*out = *mt_at(frames, at);
	frames->depth = at;
	if (at > 0 && at - 1 < MT_DEPTH)
		*parent = mt_at(frames, at - 1);
	counter = mt_counter(event);
	if (counter)
		counter->ended++;
	return 1;
}

/*
 * Begins an interval and returns its frame, which the caller fills in and stamps with
 * mt_stamp() last.  Returns 0 if the gate is closed, a filter rejects the event (order 127:
 * not known yet) or there is no room.
 */
static __always_inline struct mt_frame_t *mt_begin(int event, int order, u64 key)
{
	struct mt_conf_t *conf = mt_gate();

	if (!conf || !mt_wanted(conf, bpf_get_current_pid_tgid(), order))
		return 0;
	return mt_push(event, key);
}

static __always_inline int mt_stamp(struct mt_frame_t *f)
{
	f->start = bpf_ktime_get_boot_ns();
	return 0;
}

/*
 * Ends an interval: *o gets the fields that every event has, *f the frame, and *parent the
 * frame around it, or 0.  Returns 0 if no such interval was open.  The gate is not checked, so
 * that every interval that was begun can end.
 */
static __always_inline struct mt_conf_t *mt_end(int event, u64 key, u8 site,
						struct mt_occurrence *o, struct mt_frame_t *f,
						struct mt_frame_t **parent)
{
	struct mt_conf_t *conf;
	int none = 0;

	o->ts = bpf_ktime_get_boot_ns();
	o->task = bpf_get_current_pid_tgid();
	conf = mt_conf.lookup(&none);
	if (!conf || !mt_pop(event, key, f, parent))
		return 0;
	o->dur = o->ts - f->start;
	o->self = o->dur - f->child_ns;
	o->parent = MT_NO_PARENT;
	if (*parent) {
		(*parent)->child_ns += o->dur;
		o->parent = (*parent)->event;
	}
	o->event = event;
	o->site = site;
	o->flags = f->accepts ? MT_FLAG_VICTIM : 0;
	o->rare = f->accepts;
	o->order = f->order;
	o->nid = -1;
	o->nid_requested = f->nid_requested;
	o->root = f->root;
	o->within = f->within;
	return conf;
}
