/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Events on ranges of guest memory: preallocated, punched, freed, converted, populated,
 * prefaulted.  This file is compiled after gmem.bpf.c.
 */
/* ---- gmem.allocate, gmem.punch ---- */
static __always_inline u64 mt_file_pages(u64 file)
{
	return mt_pointer(mt_pointer(mt_pointer(file + MT_KVM_FILE_INODE) + MT_KVM_INODE_MAPPING) +
			  MT_KVM_MAPPING_PAGES);
}

static __always_inline int mt_gmem_fallocate_enter(void *ctx, enum mt_way way)
{
	u64 file = mt_arg(ctx, way, 0);
	int event = mt_arg(ctx, way, 1) & MT_FALLOC_PUNCH_HOLE ? MT_EV_GMEM_PUNCH : MT_EV_GMEM_ALLOCATE;
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
	/*
	 * Pages freed inside, as gmem.free counts them; without those, the change of the file's
	 * pages, which other CPUs may change too.
	 */
	change = mt_file_pages(f.gmem.file.at) - f.gmem.file.pages;
	if (event == MT_EV_GMEM_PUNCH)
		change = f.gmem.file.freed ? f.gmem.file.freed : -change;
	o.pages = change > 0 ? change : 0;
	return mt_done(ctx, conf, &o);
}

static __always_inline int mt_gmem_fallocate_exit(void *ctx, enum mt_way way)
{
	struct mt_frame_t *top = mt_top();

	if (!top)
		return 0;
	if (top->event == MT_EV_GMEM_PUNCH)
		return mt_fallocated(ctx, way, MT_EV_GMEM_PUNCH, MT_SITE_BY(GMEM_PUNCH, way));
	if (top->event == MT_EV_GMEM_ALLOCATE)
		return mt_fallocated(ctx, way, MT_EV_GMEM_ALLOCATE, MT_SITE_BY(GMEM_ALLOCATE, way));
	return 0;
}

#ifdef MT_FN_GMEM_FALLOCATE
MT_PAIR(GMEM_FALLOCATE, gmem_fallocate)
#endif
MT_KPROBE_PAIR(gmem_fallocate)

/* ---- gmem.free ---- */
static __always_inline int mt_gmem_free_enter(void *ctx, enum mt_way way)
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

static __always_inline int mt_gmem_free_exit(void *ctx, enum mt_way way)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	struct mt_conf_t *conf = mt_close(ctx, way, MT_EV_GMEM_FREE, MT_SITE_BY(GMEM_FREE, way), 0,
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
MT_PAIR(GMEM_FREE, gmem_free)
#endif
MT_KPROBE_PAIR(gmem_free)

/* ---- gmem.convert: kvm_vm_ioctl(filp, ioctl, arg) ---- */
static __always_inline int mt_gmem_convert_enter(void *ctx, enum mt_way way)
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

static __always_inline int mt_gmem_convert_exit(void *ctx, enum mt_way way)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	s64 result = mt_result(ctx, way, MT_GMEM_CONVERT_ARGS);
	struct mt_conf_t *conf;

	if (!mt_innermost_is(MT_EV_GMEM_CONVERT))
		return 0;
	conf = mt_close(ctx, way, MT_EV_GMEM_CONVERT, MT_SITE_BY(GMEM_CONVERT, way), result < 0,
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

/* kvm_arch_pre_set_memory_attributes() is called for each memslot that a change touches. */
static __always_inline int mt_gmem_change_enter(void *ctx, enum mt_way way)
{
	struct mt_frame_t *top = mt_top();

	if (top && top->event == MT_EV_GMEM_CONVERT)
		top->gmem.flags |= MT_FRAME_CHANGED;
	return 0;
}

#ifdef MT_FN_GMEM_CONVERT
MT_PAIR(GMEM_CONVERT, gmem_convert)
#endif
MT_KPROBE_PAIR(gmem_convert)

#ifdef MT_FN_GMEM_CHANGE
MT_ENTRY(GMEM_CHANGE, gmem_change)
#endif
MT_KPROBE(gmem_change)

/* ---- gmem.populate: kvm_gmem_populate(kvm, start_gfn, src, npages, ...), found by name ---- */
static __always_inline int mt_gmem_populate_enter(void *ctx, enum mt_way way)
{
	struct mt_frame_t *f = mt_private(ctx, way, MT_EV_GMEM_POPULATE, -1,
					  mt_arg(ctx, way, MT_GMEM_POPULATE_GFN_ARG));

	if (!f)
		return 0;
	f->gmem.vm = mt_vm(mt_arg(ctx, way, 0));
	f->gmem.requested = mt_arg(ctx, way, MT_GMEM_POPULATE_PAGES_ARG);
	f->gmem.get.zero_from_ns = 0;
	return mt_stamp(f);
}

static __always_inline int mt_gmem_populate_exit(void *ctx, enum mt_way way)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	s64 result = mt_result(ctx, way, MT_GMEM_POPULATE_ARGS);
	struct mt_conf_t *conf = mt_close(ctx, way, MT_EV_GMEM_POPULATE, MT_SITE_BY(GMEM_POPULATE, way), result < 0,
			&o, &f, &parent);

	if (!conf)
		return 0;
	o.pages = result > 0 ? result : 0;
	return mt_done(ctx, conf, &o);
}

#ifdef MT_FN_GMEM_POPULATE
MT_PAIR(GMEM_POPULATE, gmem_populate)
#endif
MT_KPROBE_PAIR(gmem_populate)

/* ---- gmem.prefault: kvm_vcpu_ioctl(filp, ioctl, arg) ---- */
static __always_inline int mt_gmem_prefault_enter(void *ctx, enum mt_way way)
{
	u64 range[2] = {};	/* struct kvm_pre_fault_memory: gpa and size, advanced as it runs */
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

static __always_inline int mt_gmem_prefault_exit(void *ctx, enum mt_way way)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	u64 range[2] = {};
	struct mt_conf_t *conf;

	if (!mt_innermost_is(MT_EV_GMEM_PREFAULT))
		return 0;
	conf = mt_close(ctx, way, MT_EV_GMEM_PREFAULT, MT_SITE_BY(GMEM_PREFAULT, way),
			(s64)mt_result(ctx, way, MT_GMEM_PREFAULT_ARGS) < 0, &o, &f, &parent);
	if (!conf)
		return 0;
	o.pages = MT_PAGES_UNKNOWN;
	if (!bpf_probe_read_user(range, sizeof(range), (void *)f.gmem.argument))
		o.pages = f.gmem.requested - (u32)(range[1] >> 12);
	return mt_done(ctx, conf, &o);
}

#ifdef MT_FN_GMEM_PREFAULT
MT_PAIR(GMEM_PREFAULT, gmem_prefault)
#endif
MT_KPROBE_PAIR(gmem_prefault)

/* ---- the end of a VM, and the binding of a slot before its first fault ---- */
static __always_inline int mt_gmem_destroy_enter(void *ctx, enum mt_way way)
{
	u64 kvm = mt_arg(ctx, way, 0);

	mt_vms.delete(&kvm);
	return 0;
}

#ifdef MT_FN_GMEM_DESTROY
MT_ENTRY(GMEM_DESTROY, gmem_destroy)
#endif
MT_KPROBE(gmem_destroy)

#ifdef MT_FN_GMEM_BIND
/* kvm_gmem_bind(kvm, slot, fd, offset) or kvm_gmem_commit_memory_region(kvm, slot) */
MT_FEXIT(MT_FN_GMEM_BIND, unsigned long first)
{
	if (mt_gate() && !(int)mt_argument(ctx, MT_GMEM_BIND_ARGS))
		mt_bind(mt_argument(ctx, 1), mt_vm(mt_argument(ctx, 0)));
	return 0;
}
#endif
