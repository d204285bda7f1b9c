/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which events are recorded: those that pass the filters on order, CPU, process and command name. */
#ifdef MT_TARGETS
/* Processes that are let in, by tgid.  The value is the number that user space listed, if any. */
BPF_HASH(mt_targets, u32, u32, 65536);
#ifdef MT_PIDNS
/* Processes that user space lists, by their numbers in its namespace, until they end. */
BPF_HASH(mt_listed, u32, u8, 65536);
#endif

/* Returns whether the current process, whose tgid is given, is let in. */
static __always_inline int mt_target(struct mt_conf_t *conf, u32 tgid)
{
	if (mt_targets.lookup(&tgid))
		return 1;
#ifdef MT_PIDNS
	u32 number = mt_shown(conf, 0) >> 32;

	if (number != MT_OUTSIDE && mt_listed.lookup(&number)) {
		mt_targets.update(&tgid, &number);
		return 1;
	}
#endif
	return 0;
}
#endif
#ifdef MT_CPUS
BPF_ARRAY(mt_cpus, u32, MT_SIZED);
#endif

static __always_inline int mt_wanted(struct mt_conf_t *conf, u64 task, int order)
{
	if (conf->only)
		return task >> 32 == conf->only;
#ifdef MT_MIN_ORDER
	if (order < MT_MIN_ORDER)
		return 0;
#endif
#ifdef MT_CPUS
	int cpu = bpf_get_smp_processor_id();
	u32 *listed = mt_cpus.lookup(&cpu);

	if (!listed || !*listed)
		return 0;
#endif
#ifdef MT_TARGETS
	if (!mt_target(conf, task >> 32))
		return 0;
#endif
#ifdef MT_COMM_A
	u64 comm[2];

	bpf_get_current_comm(comm, sizeof(comm));
	if (comm[0] != MT_COMM_A || comm[1] != MT_COMM_B)
		return 0;
#endif
	return 1;
}
