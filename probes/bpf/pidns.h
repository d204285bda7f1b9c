/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Numbers of tasks as the recorder's PID namespace has them.  Everything in the kernel side is
 * keyed by the kernel's own numbers; these are what users give and what rows show.
 *
 * A task has a number in its own namespace and in each one around it: pid.numbers[level],
 * include/linux/pid.h.  bpf_get_ns_current_pid_tgid() knows no task of a namespace inside
 * the recorder's, so they are read here.
 */
#define MT_OUTSIDE (~0U)

#ifdef MT_PIDNS
/* Returns the number of a task_struct in the recorder's namespace; MT_OUTSIDE if it has none. */
static __always_inline u32 mt_number(struct mt_conf_t *conf, u64 task)
{
	u64 pid = 0, ns = 0, at;
	u32 level = 0, number = MT_OUTSIDE;

	bpf_probe_read_kernel(&pid, sizeof(pid), (void *)(task + MT_TASK_THREAD_PID));
	if (!pid)
		return MT_OUTSIDE;
	bpf_probe_read_kernel(&level, sizeof(level), (void *)(pid + MT_PID_LEVEL));
	if (level < conf->pidns_level)
		return MT_OUTSIDE;
	at = pid + MT_PID_NUMBERS + conf->pidns_level * MT_UPID_SIZEOF;
	bpf_probe_read_kernel(&ns, sizeof(ns), (void *)(at + MT_UPID_NS));
	if (ns != conf->pidns)
		return MT_OUTSIDE;
	bpf_probe_read_kernel(&number, sizeof(number), (void *)(at + MT_UPID_NR));
	return number;
}
#endif

/* Returns the current task's process (high half) and thread as the recorder's namespace has them. */
static __always_inline u64 mt_shown(struct mt_conf_t *conf, u64 task)
{
#ifdef MT_PIDNS
	u64 current = bpf_get_current_task(), leader = 0;

	bpf_probe_read_kernel(&leader, sizeof(leader), (void *)(current + MT_TASK_LEADER));
	return (u64)mt_number(conf, leader) << 32 | mt_number(conf, current);
#else
	return task;
#endif
}
