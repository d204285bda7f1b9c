/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * guest_memfd on the host (virt/kvm/guest_memfd.c, arch/x86/kvm, arch/x86/virt/svm/sev.c).
 *
 * Offsets are MT_KVM_* macros from BTF (probes/topics/gmem.py); arguments that moved or swapped
 * between kernels are given by index, MT_GMEM_*_ARG.  Each program pair below is the
 * entry and the exit of one function; what is nested in what:
 *
 *   gmem.fault     kvm_mmu_page_fault(vcpu, gpa, error_code, ...)
 *     gmem.get     kvm_gmem_get_pfn(kvm, slot, gfn, *pfn, ..., *max_order)
 *       gmem.zero  around the return of __kvm_gmem_get_pfn(): see there
 *       gmem.prepare   kvm_arch_gmem_prepare() or _make_private(kvm, gfn, pfn, ...)
 *         gmem.assign  rmp_make_private(pfn, gpa, level, ...)
 *     gmem.assign  tdh_mem_page_aug(td, gpa, level, ...)
 *   gmem.map       kvm_gmem_fault_user_mapping(vmf)
 *     gmem.zero    from the return of kvm_gmem_get_folio() to its own
 *   gmem.punch     kvm_gmem_fallocate(file, mode, offset, len) with mode & 2
 *     gmem.free    kvm_gmem_free_folio(folio)
 *
 * Frames are keyed by a stack address of the call: the context of a fentry program lies
 * in its trampoline's frame and is the same at the exit.
 */
#define MT_KEEP_SIZE_PUNCH_HOLE 2
#define MT_KVM_SET_MEMORY_ATTRIBUTES 0x4020aed2
#define MT_KVM_PRE_FAULT_MEMORY 0xc040aed5
#define MT_ATTRIBUTE_PRIVATE 8
#define MT_PFERR_PRIVATE (1ULL << 49)
/* Bits of a frame's flags that are no flags of a row. */
#define MT_FRAME_CHANGED (1U << 31)
#define MT_FRAME_FIRST (1U << 30)	/* the page looked up was not in use before */
#define MT_FRAME_ASSIGNED (1U << 29)	/* a gmem.assign lay inside */
#define MT_FRAME_BITS (MT_FRAME_CHANGED | MT_FRAME_FIRST | MT_FRAME_ASSIGNED)
#define MT_MAX_ERRNO 4095
#define MT_VM_FAULT_ERROR 0x873	/* VM_FAULT_ERROR, include/linux/mm_types.h */

struct mt_vm_t {
	u64 first_ns;
	s64 clock_offset;	/* guest's kvm-clock less the host's CLOCK_BOOTTIME */
	u32 pid;
	u8 kind;		/* KVM_X86_*_VM */
	u8 has_private;
	u16 pad;
	char comm[16];		/* of the thread that was met first */
};
struct mt_binding_t {
	u64 pgoff;
	u64 pages;
	u64 gfn;
};
struct mt_bindings_t {
	struct mt_binding_t of[4];
};
struct mt_file_t {
	u64 file;
	u64 vm;
};
BPF_HASH(mt_vms, u64, u32, 1024);
BPF_HASH(mt_vm_list, u32, struct mt_vm_t, 1024);
BPF_ARRAY(mt_vm_last, u32, 1);
BPF_HASH(mt_bindings, struct mt_file_t, struct mt_bindings_t, 1024);
BPF_PERCPU_ARRAY(mt_bindings_new, struct mt_bindings_t, 1);

/* Where the kernel has no such function: its programs are compiled, and never attached. */
#ifndef MT_GMEM_GET_ORDER_ARG
#define MT_GMEM_GET_ORDER_ARG 4
#endif
#ifndef MT_GMEM_PREPARE_GFN_ARG
#define MT_GMEM_PREPARE_GFN_ARG 1
#define MT_GMEM_PREPARE_PFN_ARG 2
#define MT_GMEM_PREPARE_ARGS 4
#endif
#ifndef MT_GMEM_POPULATE_GFN_ARG
#define MT_GMEM_POPULATE_GFN_ARG 1
#define MT_GMEM_POPULATE_PAGES_ARG 3
#endif
#ifndef MT_PG_UPTODATE
#define MT_PG_UPTODATE 0
#endif

#define MT_READ(to, at) bpf_probe_read_kernel(&(to), sizeof(to), (void *)(at))

/* The address of a program's context, as a number on which arithmetic is allowed. */
static __always_inline u64 mt_here(void *ctx)
{
	void *pointer = ctx;
	u64 address = 0;

	MT_READ(address, &pointer);
	return address;
}

static __always_inline u64 mt_pointer(u64 at)
{
	u64 value = 0;

	MT_READ(value, at);
	return value;
}

static __always_inline void mt_vm_describe(u64 kvm, struct mt_vm_t *vm)
{
	vm->first_ns = bpf_ktime_get_boot_ns();
	vm->has_private = 1;
	bpf_get_current_comm(vm->comm, sizeof(vm->comm));
#ifdef MT_KVM_PID
	MT_READ(vm->pid, kvm + MT_KVM_PID);
#endif
#ifdef MT_KVM_TYPE
	MT_READ(vm->kind, kvm + MT_KVM_TYPE);
	vm->has_private = vm->kind != 0;
#endif
#ifdef MT_KVM_HAS_PRIVATE
	MT_READ(vm->has_private, kvm + MT_KVM_HAS_PRIVATE);
#endif
#ifdef MT_KVM_CLOCK_OFFSET
	MT_READ(vm->clock_offset, kvm + MT_KVM_CLOCK_OFFSET);
#endif
}

/*
 * The number of a VM, given at first sight and never again to another: a struct kvm that is
 * freed leaves mt_vms (kvm_arch_destroy_vm()).  Numbers are claimed by inserting, so that
 * two CPUs never give one twice.  0: no number left.
 */
static __always_inline u32 mt_vm(u64 kvm)
{
	u32 *known = mt_vms.lookup(&kvm), *last, number;
	struct mt_vm_t vm = {};
	int zero = 0;

	if (known)
		return *known;
	last = mt_vm_last.lookup(&zero);
	if (!last)
		return 0;
	mt_vm_describe(kvm, &vm);
#pragma unroll
	for (int i = 0; i < 4; i++) {
		number = *last + 1;
		if (mt_vm_list.insert(&number, &vm)) {
			*last = number;
			continue;
		}
		*last = number;
		if (!mt_vms.insert(&kvm, &number))
			return number;
		mt_vm_list.delete(&number);
		break;
	}
	known = mt_vms.lookup(&kvm);
	return known ? *known : 0;
}

static __always_inline int mt_vm_has_private(u32 number)
{
	struct mt_vm_t *vm = mt_vm_list.lookup(&number);

	return !vm || vm->has_private;
}

/* Remember which guest frames a range of the file stands for: struct kvm_memory_slot. */
static __always_inline void mt_bind(u64 slot, u32 vm)
{
	struct mt_file_t key = { .vm = vm };
	struct mt_bindings_t *known, *fresh;
	struct mt_binding_t now = {};
	int zero = 0;

	MT_READ(key.file, slot + MT_KVM_SLOT_FILE);
	MT_READ(now.pgoff, slot + MT_KVM_SLOT_PGOFF);
	MT_READ(now.pages, slot + MT_KVM_SLOT_PAGES);
	MT_READ(now.gfn, slot + MT_KVM_SLOT_GFN);
	if (!key.file || !now.pages)
		return;
	known = mt_bindings.lookup(&key);
	if (!known) {
		fresh = mt_bindings_new.lookup(&zero);
		if (!fresh)
			return;
		mt_bindings.insert(&key, fresh);
		known = mt_bindings.lookup(&key);
		if (!known)
			return;
	}
#pragma unroll
	for (int i = 0; i < 4; i++) {
		if (known->of[i].pages && known->of[i].pgoff != now.pgoff)
			continue;
		known->of[i] = now;
		return;
	}
}

static __always_inline u64 mt_file_gfn(u64 file, u32 vm, u64 index)
{
	struct mt_file_t key = { .file = file, .vm = vm };
	struct mt_bindings_t *known = mt_bindings.lookup(&key);

	if (!known)
		return MT_NO_GFN;
#pragma unroll
	for (int i = 0; i < 4; i++)
		if (index - known->of[i].pgoff < known->of[i].pages)
			return known->of[i].gfn + index - known->of[i].pgoff;
	return MT_NO_GFN;
}

/* The current task's innermost interval, if it is one of private memory; else 0. */
static __always_inline struct mt_frame_t *mt_guest_top(void)
{
	struct mt_frame_t *top = mt_top();

	return top && MT_IS_GUEST(top->event) ? top : 0;
}

static __always_inline s16 mt_top_vcpu(void)
{
	struct mt_frame_t *top = mt_guest_top();

	return top ? top->gmem.vcpu : -1;
}

static __always_inline void mt_guest(struct mt_occurrence *o, struct mt_frame_t *f)
{
	o->gfn = f->gmem.gfn;
	o->vm = f->gmem.vm;
	o->vcpu = f->gmem.vcpu;
	o->flags |= f->gmem.flags & ~MT_FRAME_BITS;
	o->requested = f->gmem.requested;
	o->kind = MT_KIND_GUEST | MT_KIND_PAGES | (o->requested ? MT_KIND_REQUESTED : 0);
}

static __always_inline void mt_guest_pfn(struct mt_conf_t *conf, struct mt_occurrence *o, u64 pfn)
{
	o->pfn = pfn;
	if (pfn)
		o->nid = mt_pfn_nid(conf, pfn);
}

/*
 * What a program is told of its function's call, by the way it was attached, which the
 * compiler knows: each entry and exit below serves fentry and kprobe both.
 */
enum mt_way { MT_BY_FENTRY, MT_BY_KPROBE, MT_BY_KRETPROBE };

static __always_inline u64 mt_arg(void *ctx, enum mt_way way, int n)
{
	struct pt_regs *regs = ctx;

	if (way == MT_BY_FENTRY)
		return mt_argument(ctx, n);
	switch (n) {
	case 0: return PT_REGS_PARM1(regs);
	case 1: return PT_REGS_PARM2(regs);
	case 2: return PT_REGS_PARM3(regs);
	case 3: return PT_REGS_PARM4(regs);
	case 4: return PT_REGS_PARM5(regs);
	default: return PT_REGS_PARM6(regs);
	}
}

/* The return value of a function of so many arguments. */
static __always_inline u64 mt_result(void *ctx, enum mt_way way, int arguments)
{
	return way == MT_BY_FENTRY ? mt_argument(ctx, arguments) : PT_REGS_RC((struct pt_regs *)ctx);
}

static __always_inline u64 mt_key(void *ctx, enum mt_way way)
{
	if (way == MT_BY_FENTRY)
		return mt_here(ctx);
	return PT_REGS_SP((struct pt_regs *)ctx) - (way == MT_BY_KRETPROBE ? 8 : 0);
}

/* Sites are numbered in the order of events, fentry and kprobe in turn. */
#define MT_GMEM_SITE(X, way) (MT_SITE_GMEM_##X##_FENTRY + ((way) != MT_BY_FENTRY))

#define MT_GMEM_FENTRY(X, x)                                            \
	MT_FENTRY(MT_FN_GMEM_##X, unsigned long first)                  \
	{                                                               \
		return mt_##x##_enter(ctx, MT_BY_FENTRY);               \
	}
#define MT_GMEM_FEXIT(X, x)                                             \
	MT_FEXIT(MT_FN_GMEM_##X, unsigned long first)                   \
	{                                                               \
		return mt_##x##_exit(ctx, MT_BY_FENTRY);                \
	}
#define MT_GMEM_PAIR(X, x) MT_GMEM_FENTRY(X, x) MT_GMEM_FEXIT(X, x)

#ifdef MT_KPROBES
#define MT_GMEM_KPROBE(x)                                               \
	int mt_gmem_##x##_kprobe(struct pt_regs *ctx)                   \
	{                                                               \
		return mt_##x##_enter(ctx, MT_BY_KPROBE);               \
	}
#define MT_GMEM_KRETPROBE(x)                                            \
	int mt_gmem_##x##_kretprobe(struct pt_regs *ctx)                \
	{                                                               \
		return mt_##x##_exit(ctx, MT_BY_KRETPROBE);             \
	}
#else
#define MT_GMEM_KPROBE(x)
#define MT_GMEM_KRETPROBE(x)
#endif

#define MT_GMEM_KPROBES(x) MT_GMEM_KPROBE(x) MT_GMEM_KRETPROBE(x)

/* An interval of private memory, begun: its VM is for the caller to fill in.  0 as mt_begin(). */
static __always_inline struct mt_frame_t *mt_private(void *ctx, enum mt_way way, int event, s16 vcpu, u64 gfn)
{
	struct mt_frame_t *f = mt_begin(event, 127, mt_key(ctx, way));

	if (!f)
		return 0;
	f->gmem.vcpu = vcpu;
	f->gmem.gfn = gfn;
	f->gmem.flags = MT_FLAG_PRIVATE;
	f->gmem.pfn = 0;
	f->gmem.requested = 0;
	f->gmem.vm = 0;
	return f;
}

/* An interval's end: mt_end(), and what all of private memory have. */
static __always_inline struct mt_conf_t *mt_close(void *ctx, enum mt_way way, int event, u8 site, int failed,
						  struct mt_occurrence *o, struct mt_frame_t *f,
						  struct mt_frame_t **parent)
{
	struct mt_conf_t *conf = mt_end(event, mt_key(ctx, way), site, o, f, parent);

	if (!conf)
		return 0;
	mt_guest(o, f);
	if (failed)
		o->flags |= MT_FLAG_FAILED;
	return conf;
}

static __always_inline int mt_done(void *ctx, struct mt_conf_t *conf, struct mt_occurrence *o)
{
	mt_emit(ctx, conf, o);
	return 0;
}

/* Of a tracepoint: an occurrence without times. */
static __always_inline int mt_moment(struct mt_occurrence *o, int event, u8 site)
{
	o->task = bpf_get_current_pid_tgid();
	if (!mt_wanted(o->task, 127))
		return 0;
	o->dur = MT_UNKNOWN_NS;
	o->self = MT_UNKNOWN_NS;
	o->event = event;
	o->site = site;
	o->kind = MT_KIND_GUEST | MT_KIND_PAGES;
	o->parent = MT_NO_PARENT;
	o->nid = -1;
	o->nid_requested = -1;
	return 1;
}

/* ---- gmem.fault ---- */
#define MT_STAT(vcpu, name) mt_pointer((vcpu) + MT_KVM_STAT_##name)

/* kvm_mmu_page_fault() counts what became of a fault it took; one it only emulates it does not. */
static __always_inline u64 mt_settled(u64 vcpu)
{
#ifdef MT_KVM_STAT_FIXED
	return MT_STAT(vcpu, FIXED) + MT_STAT(vcpu, EMULATE) + MT_STAT(vcpu, SPURIOUS);
#else
	return 0;
#endif
}

static __always_inline int mt_fault_enter(void *ctx, enum mt_way way)
{
	u64 vcpu = mt_arg(ctx, way, 0);
	u32 vm;
	s32 id = -1;
	struct mt_frame_t *f;

	if (!mt_gate())
		return 0;
	vm = mt_vm(mt_pointer(vcpu + MT_KVM_VCPU_KVM));
	if (!mt_vm_has_private(vm))
		return 0;
	MT_READ(id, vcpu + MT_KVM_VCPU_ID);
	f = mt_private(ctx, way, MT_EV_GMEM_FAULT, id, mt_arg(ctx, way, 1) >> 12);
	if (!f)
		return 0;
	f->gmem.vm = vm;
	f->gmem.fault.vcpu = vcpu;
	f->gmem.fault.settled = mt_settled(vcpu);
#ifdef MT_KVM_STAT_TAKEN
	f->gmem.fault.taken = MT_STAT(vcpu, TAKEN);
#endif
	f->gmem.flags = mt_arg(ctx, way, 2) & MT_PFERR_PRIVATE ? MT_FLAG_PRIVATE : 0;
	return mt_stamp(f);
}

static __always_inline int mt_fault_exit(void *ctx, enum mt_way way)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	int result = mt_result(ctx, way, MT_GMEM_FAULT_ARGS);
	struct mt_conf_t *conf = mt_close(ctx, way, MT_EV_GMEM_FAULT, MT_GMEM_SITE(FAULT, way), result < 0,
					  &o, &f, &parent);

	if (!conf)
		return 0;
#ifdef MT_KVM_STAT_TAKEN
	/* Access to a device, not to memory. */
	if (result >= 0 && f.gmem.fault.taken == MT_STAT(f.gmem.fault.vcpu, TAKEN))
		return 0;
#endif
#ifdef MT_KVM_STAT_FIXED
	if (result >= 0 && f.gmem.fault.settled == mt_settled(f.gmem.fault.vcpu))
		o.flags |= MT_FLAG_RETRIED;
#endif
	if (!(o.flags & (MT_FLAG_FAILED | MT_FLAG_RETRIED)))
		o.pages = 1U << (f.order > 0 ? f.order : 0);
	mt_guest_pfn(conf, &o, f.gmem.pfn);
	return mt_done(ctx, conf, &o);
}

#ifdef MT_FN_GMEM_FAULT
MT_GMEM_PAIR(FAULT, fault)
#endif
MT_GMEM_KPROBES(fault)

/* tp kvm:kvm_page_fault(vcpu, fault_address, error_code): that it happened, not how it ended. */
int mt_gmem_fault_rawtp(struct bpf_raw_tracepoint_args *ctx)
{
	struct mt_conf_t *conf = mt_gate();
	struct mt_occurrence o = {};
	u64 vcpu = ctx->args[0];
	s32 id = -1;

	if (!conf || !mt_moment(&o, MT_EV_GMEM_FAULT, MT_SITE_GMEM_FAULT_RAWTP))
		return 0;
	o.vm = mt_vm(mt_pointer(vcpu + MT_KVM_VCPU_KVM));
	if (!mt_vm_has_private(o.vm))
		return 0;
	MT_READ(id, vcpu + MT_KVM_VCPU_ID);
	o.vcpu = id;
	o.gfn = ctx->args[1] >> 12;
	o.pages = MT_PAGES_UNKNOWN;
	o.flags = ctx->args[2] & MT_PFERR_PRIVATE ? MT_FLAG_PRIVATE : 0;
	o.order = -1;
	mt_emit(ctx, conf, &o);
	return 0;
}

/* kvm_tdp_page_fault(vcpu, fault): whether the fault is private is known only here. */
static __always_inline int mt_detail_enter(void *ctx, enum mt_way way)
{
	struct mt_frame_t *top = mt_top();
#ifdef MT_KVM_FAULT_PRIVATE
	u8 is_private = 0;

	if (!top || top->event != MT_EV_GMEM_FAULT)
		return 0;
	MT_READ(is_private, mt_arg(ctx, way, 1) + MT_KVM_FAULT_PRIVATE);
	if (is_private)
		top->gmem.flags |= MT_FLAG_PRIVATE;
#endif
	return 0;
}

#ifdef MT_FN_GMEM_DETAIL
MT_GMEM_FENTRY(DETAIL, detail)
#endif
MT_GMEM_KPROBE(detail)

/* ---- gmem.get ---- */
static __always_inline int mt_get_enter(void *ctx, enum mt_way way)
{
	struct mt_frame_t *f = mt_private(ctx, way, MT_EV_GMEM_GET, mt_top_vcpu(), mt_arg(ctx, way, 2));

	if (!f)
		return 0;
	f->gmem.vm = mt_vm(mt_arg(ctx, way, 0));
	f->gmem.get.pfn_at = mt_arg(ctx, way, 3);
	f->gmem.get.order_at = mt_arg(ctx, way, MT_GMEM_GET_ORDER_ARG);
	f->gmem.get.cleared_from = 0;
	mt_bind(mt_arg(ctx, way, 1), f->gmem.vm);
	return mt_stamp(f);
}

static __always_inline int mt_gmem_folio_order(u64 folio)
{
	u64 flags = 0;

	MT_READ(flags, folio + MT_PAGE_FLAGS);
	if (!(flags >> MT_PG_HEAD & 1))
		return 0;
	MT_READ(flags, folio + MT_FOLIO_FLAGS_1);
	return flags & 0xff;
}

/*
 * ---- gmem.zero ----
 *
 * A page is cleared before its first use, when its folio is not up to date yet.  Kernels
 * clear either after the return of __kvm_gmem_get_pfn() (up to the architecture's hook) or
 * inside it, after that of kvm_gmem_get_folio(); the folio's flag at both returns tells.
 * The frame holds when the clearing can have begun (cleared_from; 0: nothing to clear).
 */
static __always_inline void mt_zeroed_until_now(void *ctx, struct mt_conf_t *conf, struct mt_frame_t *around,
						u64 gfn, u64 pfn, u64 order)
{
	struct mt_occurrence o = {};

	o.ts = bpf_ktime_get_boot_ns();
	o.task = bpf_get_current_pid_tgid();
	o.dur = o.ts - around->gmem.get.cleared_from;
	o.self = o.dur;
	o.event = MT_EV_GMEM_ZERO;
	o.site = MT_SITE_GMEM_ZERO_EITHER;
	o.parent = around->event;
	o.order = order;
	o.pages = 1U << (order & 31);
	o.nid = -1;
	o.nid_requested = -1;
	mt_guest(&o, around);
	o.gfn = gfn;
	mt_guest_pfn(conf, &o, pfn);
	around->child_ns += o.dur;
	around->gmem.get.cleared_from = 0;
	mt_emit(ctx, conf, &o);
}

/* The frame that a look-up is for, or 0: also one with a root.* event that begins where it does. */
static __always_inline struct mt_frame_t *mt_lookup_frame(void)
{
	u64 context = mt_context(bpf_get_current_pid_tgid());
	struct mt_frames_t *frames = mt_open.lookup(&context);

	if (!frames)
		return 0;
#pragma unroll
	for (int i = 1; i <= 2; i++) {
		u64 at = frames->depth - i;
		struct mt_frame_t *f;

		if (at >= MT_DEPTH)
			return 0;
		f = mt_at(frames, at);
		if (f->event == MT_EV_GMEM_GET || f->event == MT_EV_GMEM_POPULATE ||
		    f->event == MT_EV_GMEM_MAP)
			return f;
		if (!MT_IS_ROOT(f->event))
			return 0;
	}
	return 0;
}

/* Whether what a function returned is a folio, not an error, that is not up to date. */
static __always_inline int mt_not_uptodate(u64 folio)
{
	u64 flags = 0;

	if (!folio || folio >= (u64)-MT_MAX_ERRNO)
		return 0;
	MT_READ(flags, folio + MT_PAGE_FLAGS);
	return !(flags >> MT_PG_UPTODATE & 1);
}

/* kvm_gmem_get_folio(): nothing can have cleared the page yet. */
static __always_inline int mt_folio_exit(void *ctx, enum mt_way way)
{
	struct mt_frame_t *f = mt_lookup_frame();

	if (!f)
		return 0;
	f->gmem.flags &= ~MT_FRAME_FIRST;
	f->gmem.get.cleared_from = 0;
	if (!mt_not_uptodate(mt_result(ctx, way, MT_GMEM_FOLIO_ARGS)))
		return 0;
	f->gmem.flags |= MT_FRAME_FIRST;
	f->gmem.get.cleared_from = bpf_ktime_get_boot_ns();
	return 0;
}

/* A page that was cleared when the folio of a look-up came back. */
static __always_inline void mt_cleared_inside(void *ctx, struct mt_frame_t *f, u64 folio)
{
#ifdef MT_WANT_GMEM_ZERO
	struct mt_conf_t *conf = mt_gate();
	u64 pfn;

	if (!conf)
		return;
	pfn = mt_page_pfn(conf, folio);
	/* Of a populated range the frame has the begin only. */
	mt_zeroed_until_now(ctx, conf, f, f->event == MT_EV_GMEM_GET ? f->gmem.gfn : MT_NO_GFN,
			    pfn == MT_NO_PFN ? 0 : pfn, mt_gmem_folio_order(folio));
#endif
}

/* __kvm_gmem_get_pfn() */
static __always_inline int mt_lookup_exit(void *ctx, enum mt_way way)
{
	struct mt_frame_t *f = mt_lookup_frame();
	u64 folio = mt_result(ctx, way, MT_GMEM_LOOKUP_ARGS);

	if (!f)
		return 0;
#ifdef MT_GMEM_SEES_FOLIO
	if (!(f->gmem.flags & MT_FRAME_FIRST))
		return 0;
	if (folio && folio < (u64)-MT_MAX_ERRNO && !mt_not_uptodate(folio)) {
		mt_cleared_inside(ctx, f, folio);
		f->gmem.get.cleared_from = 0;
		return 0;
	}
#endif
	f->gmem.get.cleared_from = 0;
	f->gmem.flags &= ~MT_FRAME_FIRST;
	if (!mt_not_uptodate(folio))
		return 0;
	f->gmem.flags |= MT_FRAME_FIRST;
	/* What is populated gets its contents from user space. */
	if (f->event == MT_EV_GMEM_GET)
		f->gmem.get.cleared_from = bpf_ktime_get_boot_ns();
	return 0;
}

#ifdef MT_FN_GMEM_LOOKUP
MT_GMEM_FEXIT(LOOKUP, lookup)
#endif
MT_GMEM_KRETPROBE(lookup)

#ifdef MT_FN_GMEM_FOLIO
MT_GMEM_FEXIT(FOLIO, folio)
#endif
MT_GMEM_KRETPROBE(folio)

/* ---- gmem.get, its end ---- */
/* Where no hook was called, the clearing ended before the look-up did. */
static __always_inline void mt_cleared_without_hook(void *ctx, int result)
{
#ifdef MT_WANT_GMEM_ZERO
	struct mt_frame_t *f = mt_lookup_frame();
	struct mt_conf_t *conf = mt_gate();
	s32 order = 0;

	if (!conf || !f || f->event != MT_EV_GMEM_GET || !f->gmem.get.cleared_from || result < 0)
		return;
	if (f->gmem.get.order_at)
		MT_READ(order, f->gmem.get.order_at);
	mt_zeroed_until_now(ctx, conf, f, f->gmem.gfn, mt_pointer(f->gmem.get.pfn_at), order);
#endif
}

static __always_inline int mt_get_exit(void *ctx, enum mt_way way)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	int result = mt_result(ctx, way, MT_GMEM_GET_ARGS);
	s32 order = 0;
	struct mt_conf_t *conf;

	mt_cleared_without_hook(ctx, result);
	conf = mt_close(ctx, way, MT_EV_GMEM_GET, MT_GMEM_SITE(GET, way), result < 0,
			&o, &f, &parent);
	if (!conf)
		return 0;
	if (result >= 0) {
		if (f.gmem.get.order_at)
			MT_READ(order, f.gmem.get.order_at);
		o.order = order;
		o.pages = 1U << (order & 31);
		mt_guest_pfn(conf, &o, mt_pointer(f.gmem.get.pfn_at));
		if (parent && parent->event == MT_EV_GMEM_FAULT) {
			parent->gmem.flags |= MT_FLAG_PRIVATE;
			parent->order = order;
			parent->gmem.pfn = o.pfn;
		}
	}
	return mt_done(ctx, conf, &o);
}

#ifdef MT_FN_GMEM_GET
MT_GMEM_PAIR(GET, get)
#endif
MT_GMEM_KPROBES(get)

/* ---- gmem.map: kvm_gmem_fault_user_mapping(vmf) ---- */
#ifdef MT_KVM_VMF_PAGE
static __always_inline int mt_map_enter(void *ctx, enum mt_way way)
{
	u64 vmf = mt_arg(ctx, way, 0), pgoff = 0;
	u64 file = mt_pointer(mt_pointer(vmf + MT_KVM_VMF_VMA) + MT_KVM_VMA_FILE);
	struct mt_frame_t *f = mt_private(ctx, way, MT_EV_GMEM_MAP, -1, MT_NO_GFN);

	if (!f)
		return 0;
	MT_READ(pgoff, vmf + MT_KVM_VMF_PGOFF);
	f->gmem.flags = 0;
	f->gmem.vm = mt_vm(mt_pointer(mt_pointer(file + MT_KVM_FILE_PRIVATE) + MT_KVM_GMEM_KVM));
	f->gmem.gfn = mt_file_gfn(file, f->gmem.vm, pgoff);
	f->gmem.get.pfn_at = vmf;
	f->gmem.get.cleared_from = 0;
	return mt_stamp(f);
}

static __always_inline int mt_map_exit(void *ctx, enum mt_way way)
{
	struct mt_occurrence o = {};
	int failed = (int)mt_result(ctx, way, MT_GMEM_MAP_ARGS) & MT_VM_FAULT_ERROR;
	struct mt_frame_t f, *parent, *open = mt_top();
	struct mt_conf_t *conf = mt_gate();
	u64 page = 0, pfn = 0;

	if (open && open->event == MT_EV_GMEM_MAP) {
		page = mt_pointer(open->gmem.get.pfn_at + MT_KVM_VMF_PAGE);
		pfn = conf && page ? mt_page_pfn(conf, page) : 0;
		if (pfn == MT_NO_PFN)
			pfn = 0;
#ifdef MT_WANT_GMEM_ZERO
		if (conf && !failed && open->gmem.get.cleared_from)
			mt_zeroed_until_now(ctx, conf, open, open->gmem.gfn, pfn, 0);
#endif
	}
	conf = mt_close(ctx, way, MT_EV_GMEM_MAP, MT_GMEM_SITE(MAP, way), failed, &o, &f, &parent);
	if (!conf)
		return 0;
	if (!failed) {
		o.order = 0;
		o.pages = 1;
		o.page = page;
		o.nid = page ? mt_page_nid(page) : -1;
	}
	return mt_done(ctx, conf, &o);
}

#ifdef MT_FN_GMEM_MAP
MT_GMEM_PAIR(MAP, map)
#endif
MT_GMEM_KPROBES(map)
#endif

/* ---- gmem.prepare ---- */
#define MT_LOG2(pages) ((pages) >> 18 ? 18 : (pages) >> 9 ? 9 : 0)
#ifdef MT_GMEM_PREPARE_HAS_PAGES
#define MT_GMEM_PREPARE_ORDER(fourth) MT_LOG2(fourth)
#else
#define MT_GMEM_PREPARE_ORDER(fourth) ((s32)(fourth))
#endif

static __always_inline int mt_prepare_enter(void *ctx, enum mt_way way)
{
	u64 pfn = mt_arg(ctx, way, MT_GMEM_PREPARE_PFN_ARG);
	int order = MT_GMEM_PREPARE_ORDER(mt_arg(ctx, way, 3));
	struct mt_frame_t *get = mt_lookup_frame(), *f;
	s16 vcpu = get ? get->gmem.vcpu : -1;
	u32 first = get ? get->gmem.flags & MT_FRAME_FIRST : 0;
	struct mt_conf_t *conf = mt_gate();

	if (!conf)
		return 0;
#ifdef MT_WANT_GMEM_ZERO
	if (get && get->event == MT_EV_GMEM_GET && get->gmem.get.cleared_from)
		mt_zeroed_until_now(ctx, conf, get, get->gmem.gfn, pfn, order);
#endif
#ifndef MT_WANT_GMEM_PREPARE
	return 0;
#endif
	f = mt_private(ctx, way, MT_EV_GMEM_PREPARE, vcpu, mt_arg(ctx, way, MT_GMEM_PREPARE_GFN_ARG));
	if (!f)
		return 0;
	f->gmem.vm = mt_vm(mt_arg(ctx, way, 0));
	f->gmem.pfn = pfn;
	f->order = order;
	f->gmem.flags |= first;
	return mt_stamp(f);
}

/* The end of what made pages of the frame's order, from its pfn on. */
static __always_inline int mt_made(void *ctx, enum mt_way way, int event, u8 site, int failed)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	struct mt_conf_t *conf = mt_close(ctx, way, event, site, failed, &o, &f, &parent);

	if (!conf)
		return 0;
#ifdef MT_GMEM_HOOK_FOR_ALL
	/* The hook is called for each look-up; for a page in use it has nothing to do. */
	if (event == MT_EV_GMEM_PREPARE && !failed && !(f.gmem.flags & (MT_FRAME_FIRST | MT_FRAME_ASSIGNED))) {
		if (parent)
			parent->child_ns -= o.dur;
		return 0;
	}
#endif
	if (event == MT_EV_GMEM_ASSIGN && parent && parent->event == MT_EV_GMEM_PREPARE)
		parent->gmem.flags |= MT_FRAME_ASSIGNED;
	o.pages = failed ? 0 : 1U << (f.order & 31);
	mt_guest_pfn(conf, &o, f.gmem.pfn);
	return mt_done(ctx, conf, &o);
}

static __always_inline int mt_prepare_exit(void *ctx, enum mt_way way)
{
	return mt_made(ctx, way, MT_EV_GMEM_PREPARE, MT_GMEM_SITE(PREPARE, way),
		       (int)mt_result(ctx, way, MT_GMEM_PREPARE_ARGS) < 0);
}

#ifdef MT_FN_GMEM_PREPARE
MT_GMEM_PAIR(PREPARE, prepare)
#endif
MT_GMEM_KPROBES(prepare)

/* ---- gmem.assign and gmem.split: the RMP or the secure EPT ---- */
static __always_inline int mt_make(void *ctx, enum mt_way way, int event, u64 pfn, u64 gfn, int order)
{
	struct mt_frame_t *top = mt_guest_top(), *f;
	u16 vm = top ? top->gmem.vm : 0;
	s16 vcpu = top ? top->gmem.vcpu : -1;

	f = mt_private(ctx, way, event, vcpu, gfn);
	if (!f)
		return 0;
	f->gmem.vm = vm;
	f->gmem.pfn = pfn;
	f->order = order;
	return mt_stamp(f);
}

/* enum pg_level: 1 = 4 KiB, 2 = 2 MiB, 3 = 1 GiB; the TDX module counts from 0, and names no pfn. */
#ifdef MT_GMEM_ASSIGN_TDX
#define MT_ASSIGN_LEVEL_0 0
#define MT_ASSIGN_PFN(first) 0
#define MT_ASSIGN_FAILED(result) ((u64)(result) >> 63)
#else
#define MT_ASSIGN_LEVEL_0 1
#define MT_ASSIGN_PFN(first) (first)
#define MT_ASSIGN_FAILED(result) ((int)(result) != 0)
#endif

static __always_inline int mt_assign_enter(void *ctx, enum mt_way way)
{
	return mt_make(ctx, way, MT_EV_GMEM_ASSIGN, MT_ASSIGN_PFN(mt_arg(ctx, way, 0)),
		       mt_arg(ctx, way, 1) >> 12, 9 * ((int)mt_arg(ctx, way, 2) - MT_ASSIGN_LEVEL_0));
}

static __always_inline int mt_assign_exit(void *ctx, enum mt_way way)
{
	return mt_made(ctx, way, MT_EV_GMEM_ASSIGN, MT_GMEM_SITE(ASSIGN, way),
		       MT_ASSIGN_FAILED(mt_result(ctx, way, MT_GMEM_ASSIGN_ARGS)));
}

static __always_inline int mt_split_enter(void *ctx, enum mt_way way)
{
	return mt_make(ctx, way, MT_EV_GMEM_SPLIT, mt_arg(ctx, way, 0), MT_NO_GFN, 9);
}

static __always_inline int mt_split_exit(void *ctx, enum mt_way way)
{
	return mt_made(ctx, way, MT_EV_GMEM_SPLIT, MT_GMEM_SITE(SPLIT, way),
		       (int)mt_result(ctx, way, MT_GMEM_SPLIT_ARGS) != 0);
}

#ifdef MT_FN_GMEM_ASSIGN
MT_GMEM_PAIR(ASSIGN, assign)
#endif
MT_GMEM_KPROBES(assign)

#ifdef MT_FN_GMEM_SPLIT
MT_GMEM_PAIR(SPLIT, split)
#endif
MT_GMEM_KPROBES(split)

/* tp kvm:kvm_rmp_fault(vcpu, gpa, pfn, error_code, rmp_level, psmash_ret) */
int mt_gmem_split_rawtp(struct bpf_raw_tracepoint_args *ctx)
{
	struct mt_conf_t *conf = mt_gate();
	struct mt_occurrence o = {};

	/* At 4 KiB there is nothing to split. */
	if (!conf || (int)ctx->args[4] <= 1 || !mt_moment(&o, MT_EV_GMEM_SPLIT, MT_SITE_GMEM_SPLIT_RAWTP))
		return 0;
	o.vm = mt_vm(mt_pointer(ctx->args[0] + MT_KVM_VCPU_KVM));
	o.vcpu = -1;
	o.gfn = ctx->args[1] >> 12;
	o.flags = MT_FLAG_PRIVATE | ((int)ctx->args[5] ? MT_FLAG_FAILED : 0);
	o.pages = (int)ctx->args[5] ? 0 : 512;
	o.order = 9;
	mt_guest_pfn(conf, &o, ctx->args[2] & ~511ULL);
	mt_emit(ctx, conf, &o);
	return 0;
}

/* ---- gmem.allocate, gmem.punch ---- */
static __always_inline u64 mt_file_pages(u64 file)
{
	return mt_pointer(mt_pointer(mt_pointer(file + MT_KVM_FILE_INODE) + MT_KVM_INODE_MAPPING) +
			  MT_KVM_MAPPING_PAGES);
}

static __always_inline int mt_fallocate_enter(void *ctx, enum mt_way way)
{
	u64 file = mt_arg(ctx, way, 0);
	int event = mt_arg(ctx, way, 1) & MT_KEEP_SIZE_PUNCH_HOLE ? MT_EV_GMEM_PUNCH : MT_EV_GMEM_ALLOCATE;
	struct mt_frame_t *f;

#ifndef MT_WANT_GMEM_ALLOCATE
	if (event == MT_EV_GMEM_ALLOCATE)
		return 0;
#endif
#ifndef MT_WANT_GMEM_PUNCH
	if (event == MT_EV_GMEM_PUNCH)
		return 0;
#endif
	f = mt_private(ctx, way, event, -1, MT_NO_GFN);
	if (!f)
		return 0;
	f->gmem.vm = mt_vm(mt_pointer(mt_pointer(file + MT_KVM_FILE_PRIVATE) + MT_KVM_GMEM_KVM));
	f->gmem.gfn = mt_file_gfn(file, f->gmem.vm, mt_arg(ctx, way, 2) >> 12);
	f->gmem.requested = mt_arg(ctx, way, 3) >> 12;
	f->gmem.file.at = file;
	f->gmem.file.pages = mt_file_pages(file);
	f->gmem.file.freed = 0;
	return mt_stamp(f);
}

static __always_inline int mt_fallocated(void *ctx, enum mt_way way, int event, u8 site)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	s64 change;
	struct mt_conf_t *conf = mt_close(ctx, way, event, site, (s64)mt_result(ctx, way, MT_GMEM_FALLOCATE_ARGS) < 0,
					  &o, &f, &parent);

	if (!conf)
		return 0;
	/* Freed inside, as gmem.free counts it; else what the file holds, which other CPUs may change. */
	change = mt_file_pages(f.gmem.file.at) - f.gmem.file.pages;
	if (event == MT_EV_GMEM_PUNCH)
		change = f.gmem.file.freed ? f.gmem.file.freed : -change;
	o.pages = change > 0 ? change : 0;
	return mt_done(ctx, conf, &o);
}

static __always_inline int mt_fallocate_exit(void *ctx, enum mt_way way)
{
	struct mt_frame_t *top = mt_top();

	if (!top)
		return 0;
	if (top->event == MT_EV_GMEM_PUNCH)
		return mt_fallocated(ctx, way, MT_EV_GMEM_PUNCH, MT_GMEM_SITE(PUNCH, way));
	if (top->event == MT_EV_GMEM_ALLOCATE)
		return mt_fallocated(ctx, way, MT_EV_GMEM_ALLOCATE, MT_GMEM_SITE(ALLOCATE, way));
	return 0;
}

#ifdef MT_FN_GMEM_FALLOCATE
MT_GMEM_PAIR(FALLOCATE, fallocate)
#endif
MT_GMEM_KPROBES(fallocate)

/* ---- gmem.free ---- */
static __always_inline int mt_free_enter(void *ctx, enum mt_way way)
{
	struct mt_frame_t *top = mt_top(), *f;
	u64 folio = mt_arg(ctx, way, 0), index = 0, gfn = MT_NO_GFN, vm = 0;

	if (top && top->event == MT_EV_GMEM_PUNCH) {
		vm = top->gmem.vm;
		MT_READ(index, folio + MT_KVM_FOLIO_INDEX);
		gfn = mt_file_gfn(top->gmem.file.at, vm, index);
	}
	f = mt_private(ctx, way, MT_EV_GMEM_FREE, -1, gfn);
	if (!f)
		return 0;
	f->gmem.vm = vm;
	f->gmem.folio = folio;
	f->order = mt_gmem_folio_order(folio);
	return mt_stamp(f);
}

static __always_inline int mt_free_exit(void *ctx, enum mt_way way)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	struct mt_conf_t *conf = mt_close(ctx, way, MT_EV_GMEM_FREE, MT_GMEM_SITE(FREE, way), 0,
					  &o, &f, &parent);

	if (!conf)
		return 0;
	o.pages = 1U << (f.order & 31);
	o.page = f.gmem.folio;
	o.nid = mt_page_nid(f.gmem.folio);
	if (parent && parent->event == MT_EV_GMEM_PUNCH)
		parent->gmem.file.freed += o.pages;
	return mt_done(ctx, conf, &o);
}

#ifdef MT_FN_GMEM_FREE
MT_GMEM_PAIR(FREE, free)
#endif
MT_GMEM_KPROBES(free)

/* ---- gmem.convert: kvm_vm_ioctl(filp, ioctl, arg) ---- */
static __always_inline int mt_convert_enter(void *ctx, enum mt_way way)
{
	u64 attributes[4] = {};	/* struct kvm_memory_attributes: address, size, attributes, flags */
	u64 argument = mt_arg(ctx, way, 2);
	struct mt_frame_t *f;

	if ((u32)mt_arg(ctx, way, 1) != MT_KVM_SET_MEMORY_ATTRIBUTES)
		return 0;
	f = mt_private(ctx, way, MT_EV_GMEM_CONVERT, -1, MT_NO_GFN);
	if (!f)
		return 0;
	f->gmem.vm = mt_vm(mt_pointer(mt_arg(ctx, way, 0) + MT_KVM_FILE_PRIVATE));
	f->gmem.flags = 0;
	if (!bpf_probe_read_user(attributes, sizeof(attributes), (void *)argument)) {
		f->gmem.gfn = attributes[0] >> 12;
		f->gmem.requested = attributes[1] >> 12;
		if (attributes[2] & MT_ATTRIBUTE_PRIVATE)
			f->gmem.flags |= MT_FLAG_PRIVATE;
	}
	return mt_stamp(f);
}

static __always_inline int mt_convert_exit(void *ctx, enum mt_way way)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	s64 result = mt_result(ctx, way, MT_GMEM_CONVERT_ARGS);
	struct mt_conf_t *conf;

	if (!mt_innermost_is(MT_EV_GMEM_CONVERT))
		return 0;
	conf = mt_close(ctx, way, MT_EV_GMEM_CONVERT, MT_GMEM_SITE(CONVERT, way), result < 0,
					  &o, &f, &parent);
	if (!conf)
		return 0;
	o.pages = result < 0 ? 0 : MT_PAGES_UNKNOWN;
#ifdef MT_GMEM_SEES_CHANGES
	if (f.gmem.flags & MT_FRAME_CHANGED && result >= 0) {
		o.pages = f.gmem.requested;
	} else if (result >= 0) {
		o.flags |= MT_FLAG_NOOP;
		o.pages = 0;
	}
#endif
	return mt_done(ctx, conf, &o);
}

/* kvm_arch_pre_set_memory_attributes(): for each memslot that a change touches. */
static __always_inline int mt_change_enter(void *ctx, enum mt_way way)
{
	struct mt_frame_t *top = mt_top();

	if (top && top->event == MT_EV_GMEM_CONVERT)
		top->gmem.flags |= MT_FRAME_CHANGED;
	return 0;
}

#ifdef MT_FN_GMEM_CONVERT
MT_GMEM_PAIR(CONVERT, convert)
#endif
MT_GMEM_KPROBES(convert)

#ifdef MT_FN_GMEM_CHANGE
MT_GMEM_FENTRY(CHANGE, change)
#endif
MT_GMEM_KPROBE(change)

/* ---- gmem.populate: kvm_gmem_populate(kvm, start_gfn, src, npages, ...), places by name ---- */
static __always_inline int mt_populate_enter(void *ctx, enum mt_way way)
{
	struct mt_frame_t *f = mt_private(ctx, way, MT_EV_GMEM_POPULATE, -1,
					  mt_arg(ctx, way, MT_GMEM_POPULATE_GFN_ARG));

	if (!f)
		return 0;
	f->gmem.vm = mt_vm(mt_arg(ctx, way, 0));
	f->gmem.requested = mt_arg(ctx, way, MT_GMEM_POPULATE_PAGES_ARG);
	f->gmem.get.cleared_from = 0;
	return mt_stamp(f);
}

static __always_inline int mt_populate_exit(void *ctx, enum mt_way way)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	s64 result = mt_result(ctx, way, MT_GMEM_POPULATE_ARGS);
	struct mt_conf_t *conf = mt_close(ctx, way, MT_EV_GMEM_POPULATE, MT_GMEM_SITE(POPULATE, way), result < 0,
			&o, &f, &parent);

	if (!conf)
		return 0;
	o.pages = result > 0 ? result : 0;
	return mt_done(ctx, conf, &o);
}

#ifdef MT_FN_GMEM_POPULATE
MT_GMEM_PAIR(POPULATE, populate)
#endif
MT_GMEM_KPROBES(populate)

/* ---- gmem.prefault: kvm_vcpu_ioctl(filp, ioctl, arg) ---- */
static __always_inline int mt_prefault_enter(void *ctx, enum mt_way way)
{
	u64 range[2] = {};	/* struct kvm_pre_fault_memory: gpa, size; both move on as it works */
	u64 argument = mt_arg(ctx, way, 2), vcpu;
	struct mt_frame_t *f;
	s32 id = -1;

	if ((u32)mt_arg(ctx, way, 1) != MT_KVM_PRE_FAULT_MEMORY)
		return 0;
	vcpu = mt_pointer(mt_arg(ctx, way, 0) + MT_KVM_FILE_PRIVATE);
	MT_READ(id, vcpu + MT_KVM_VCPU_ID);
	f = mt_private(ctx, way, MT_EV_GMEM_PREFAULT, id, MT_NO_GFN);
	if (!f)
		return 0;
	f->gmem.vm = mt_vm(mt_pointer(vcpu + MT_KVM_VCPU_KVM));
	f->gmem.flags = 0;
	f->gmem.argument = argument;
	if (!bpf_probe_read_user(range, sizeof(range), (void *)argument)) {
		f->gmem.gfn = range[0] >> 12;
		f->gmem.requested = range[1] >> 12;
	}
	return mt_stamp(f);
}

static __always_inline int mt_prefault_exit(void *ctx, enum mt_way way)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	u64 range[2] = {};
	struct mt_conf_t *conf;

	if (!mt_innermost_is(MT_EV_GMEM_PREFAULT))
		return 0;
	conf = mt_close(ctx, way, MT_EV_GMEM_PREFAULT, MT_GMEM_SITE(PREFAULT, way),
			(s64)mt_result(ctx, way, MT_GMEM_PREFAULT_ARGS) < 0, &o, &f, &parent);
	if (!conf)
		return 0;
	o.pages = MT_PAGES_UNKNOWN;
	if (!bpf_probe_read_user(range, sizeof(range), (void *)f.gmem.argument))
		o.pages = f.gmem.requested - (u32)(range[1] >> 12);
	return mt_done(ctx, conf, &o);
}

#ifdef MT_FN_GMEM_PREFAULT
MT_GMEM_PAIR(PREFAULT, prefault)
#endif
MT_GMEM_KPROBES(prefault)

/* ---- what a VM leaves, and what a slot binds before its first fault ---- */
static __always_inline int mt_destroy_enter(void *ctx, enum mt_way way)
{
	u64 kvm = mt_arg(ctx, way, 0);

	mt_vms.delete(&kvm);
	return 0;
}

#ifdef MT_FN_GMEM_DESTROY
MT_GMEM_FENTRY(DESTROY, destroy)
#endif
MT_GMEM_KPROBE(destroy)

#ifdef MT_FN_GMEM_BIND
/* kvm_gmem_bind(kvm, slot, fd, offset) or kvm_gmem_commit_memory_region(kvm, slot) */
MT_FEXIT(MT_FN_GMEM_BIND, unsigned long first)
{
	if (mt_gate() && !(int)mt_argument(ctx, MT_GMEM_BIND_ARGS))
		mt_bind(mt_argument(ctx, 1), mt_vm(mt_argument(ctx, 0)));
	return 0;
}
#endif
