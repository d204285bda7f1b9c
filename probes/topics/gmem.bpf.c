/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * guest_memfd on the host (virt/kvm/guest_memfd.c, arch/x86/kvm, arch/x86/virt/svm/sev.c).
 *
 * Offsets are MT_KVM_* macros from BTF (probes/topics/gmem.py).  Arguments that moved or swapped
 * between kernels are given by index, MT_GMEM_*_ARG.  Each pair of programs below is the entry
 * and the exit of one function.  The events nest like this:
 *
 *   gmem.fault     kvm_mmu_page_fault(vcpu, gpa, error_code, ...)
 *     gmem.get     kvm_gmem_get_pfn(kvm, slot, gfn, *pfn, ..., *max_order)
 *       gmem.zero  around the return of __kvm_gmem_get_pfn(): see gmem_lookup.bpf.c
 *       gmem.prepare   kvm_arch_gmem_prepare() or _make_private(kvm, gfn, pfn, ...)
 *         gmem.assign  rmp_make_private(pfn, gpa, level, ...)
 *     gmem.assign  tdh_mem_page_aug(td, gpa, level, ...)
 *   gmem.map       kvm_gmem_fault_user_mapping(vmf)
 *     gmem.zero    from the return of kvm_gmem_get_folio() to the return of gmem.map's function
 *   gmem.punch     kvm_gmem_fallocate(file, mode, offset, len) with mode & 2
 *     gmem.free    kvm_gmem_free_folio(folio)
 *
 * Frames are keyed by a stack address of the call.  The context of a fentry program lies in its
 * trampoline's frame and has the same address at the exit.
 */
#define MT_FALLOC_PUNCH_HOLE 2
#define MT_KVM_SET_MEMORY_ATTRIBUTES 0x4020aed2
#define MT_KVM_PRE_FAULT_MEMORY 0xc040aed5
#define MT_ATTRIBUTE_PRIVATE 8
#define MT_PFERR_PRIVATE (1ULL << 49)
/* Bits of a frame's flags that are not flags of a row. */
#define MT_FRAME_CHANGED (1U << 31)
#define MT_FRAME_FIRST (1U << 30)	/* the page looked up was not in use before */
#define MT_FRAME_ASSIGNED (1U << 29)	/* a gmem.assign lay inside */
#define MT_FRAME_BITS (MT_FRAME_CHANGED | MT_FRAME_FIRST | MT_FRAME_ASSIGNED)
#define MT_MAX_ERRNO 4095
#define MT_VM_FAULT_ERROR 0x873	/* VM_FAULT_ERROR, include/linux/mm_types.h */

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

/* Defaults for functions that the kernel lacks: their programs are compiled, never attached. */
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

static __always_inline void mt_vm_describe(u64 kvm, struct mt_vm_t *vm)
{
	vm->first_ns = bpf_ktime_get_boot_ns();
	vm->has_private = 1;
	bpf_get_current_comm(vm->comm, sizeof(vm->comm));
#if defined(MT_PIDNS)
	/* kvm->userspace_pid is the kernel's own number, which means nothing to the recorder. */
	int zero = 0;
	struct mt_conf_t *conf = mt_conf.lookup(&zero);
	u32 process = conf ? mt_shown(conf, 0) >> 32 : MT_OUTSIDE;

	vm->pid = process == MT_OUTSIDE ? 0 : process;
#elif defined(MT_KVM_PID)
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
 * Returns the number of a VM.  A VM gets one when it is first seen, and no other VM gets the same
 * one: a struct kvm that is freed leaves mt_vms (kvm_arch_destroy_vm()).  Numbers are claimed by
 * inserting, so that two CPUs never give one twice.  0: no number could be claimed.
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

/* Remembers which guest frames a range of the file backs, from struct kvm_memory_slot. */
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

/* Returns the frame of the current task's innermost open interval if it is a gmem.*, else 0. */
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

/* Begins a gmem.* interval; the caller fills in its VM.  Returns 0 as mt_begin() does. */
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

/* Ends a gmem.* interval by mt_end(), and fills in what all gmem.* events have. */
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

/* Describes an event from a tracepoint, which has no duration.  0 if a filter rejects it. */
static __always_inline int mt_moment(struct mt_conf_t *conf, struct mt_occurrence *o, int event, u8 site)
{
	o->task = bpf_get_current_pid_tgid();
	if (!mt_wanted(conf, o->task, 127))
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

/*
 * Returns how many faults kvm_mmu_page_fault() has settled for a vCPU: it counts what became of
 * each fault that it took, but not of one that it only emulates.  0 where BTF lacks the counters.
 */
static __always_inline u64 mt_settled(u64 vcpu)
{
#ifdef MT_KVM_STAT_FIXED
	return MT_STAT(vcpu, FIXED) + MT_STAT(vcpu, EMULATE) + MT_STAT(vcpu, SPURIOUS);
#else
	return 0;
#endif
}

static __always_inline int mt_gmem_fault_enter(void *ctx, enum mt_way way)
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

static __always_inline int mt_gmem_fault_exit(void *ctx, enum mt_way way)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	int result = mt_result(ctx, way, MT_GMEM_FAULT_ARGS);
	struct mt_conf_t *conf = mt_close(ctx, way, MT_EV_GMEM_FAULT, MT_SITE_BY(GMEM_FAULT, way), result < 0,
					  &o, &f, &parent);

	if (!conf)
		return 0;
#ifdef MT_KVM_STAT_TAKEN
	/* pf_taken did not move: an access to a device, not to memory. */
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
MT_PAIR(GMEM_FAULT, gmem_fault)
#endif
MT_KPROBE_PAIR(gmem_fault)

/*
 * The tracepoint kvm:kvm_page_fault(vcpu, fault_address, error_code) shows that a fault happened,
 * not how it ended.
 */
int mt_gmem_fault_rawtp(struct bpf_raw_tracepoint_args *ctx)
{
	struct mt_conf_t *conf = mt_gate();
	struct mt_occurrence o = {};
	u64 vcpu = ctx->args[0];
	s32 id = -1;

	if (!conf || !mt_moment(conf, &o, MT_EV_GMEM_FAULT, MT_SITE_GMEM_FAULT_RAWTP))
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

/* kvm_tdp_page_fault(vcpu, fault): only here is it known whether the fault is private. */
static __always_inline int mt_gmem_detail_enter(void *ctx, enum mt_way way)
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
MT_ENTRY(GMEM_DETAIL, gmem_detail)
#endif
MT_KPROBE(gmem_detail)
