// Which roles share a process in the soak of workflows. Two that are together do what they do nowhere else: actions go from runtime to
// worker without their topic, decisions are made ahead of the audit, and the recorder knows the events of its own process. Two that are
// apart take every step through the log.

import type { Role } from './kept.ts'

export type Shape = 'apart' | 'together'
type Processes = readonly (readonly [name: string, roles: readonly Role[]])[]

/** The recorder is first; of the last one's roles, one is worker: where Redis is the victim it lives to the end. */
export const SHAPES: Readonly<Record<Shape, Processes>> = {
  apart: [
    ['recorder', ['recorder']],
    ['runtime-1', ['runtime']],
    ['runtime-2', ['runtime']],
    ['worker-1', ['worker']],
    ['worker-2', ['worker']],
  ],
  // As it is shipped, beside others of one role: partitions move between processes of either kind.
  together: [
    ['recorder', ['recorder', 'runtime', 'worker', 'notifier']],
    ['runtime-1', ['runtime']],
    ['runtime-2', ['runtime', 'worker']],
    ['worker-1', ['worker']],
    ['worker-2', ['runtime', 'worker']],
  ],
}

export const shapeOf = (seed: number): Shape => (seed % 2 === 0 ? 'apart' : 'together')
