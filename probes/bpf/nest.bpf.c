/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * A task_struct that is freed leaves the table of open intervals (nest.h):
 * sched_process_free(task), include/trace/events/sched.h.  What it still had open has no
 * exit any more.
 */
int mt_task_freed(struct bpf_raw_tracepoint_args *ctx)
{
	u64 context = ctx->args[0];
	struct mt_frames_t *frames = mt_open.lookup(&context);

	if (!frames)
		return 0;
#pragma unroll
	for (int i = 0; i < MT_DEPTH; i++) {
		struct mt_counter_t *counter;

		if (i >= frames->depth)
			break;
		counter = mt_counter(frames->frame[i].event);
		if (counter)
			counter->unmatched_entry++;
	}
	mt_open.delete(&context);
	return 0;
}
