// What happens, as numbers for Prometheus: listens to the watch, holds nothing else.

import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Watch } from './watch.ts'

export type Metrics = { contentType: string; metrics(): Promise<string> }

/** Replayed states found in memory and not, since the process began. */
type CacheCounts = { readonly hits: number; readonly misses: number }

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]

function recorderMetrics(watch: Watch, registers: Registry[]): void {
  const events = new Counter({ name: 'refold_recorder_records_total', help: 'Records judged', labelNames: ['verdict'], registers })
  const overtaken = new Counter({ name: 'refold_recorder_overtaken_total', help: 'Batches another recorder had stored', registers })
  const batches = new Histogram({ name: 'refold_recorder_batch_seconds', help: 'One batch, stored', buckets: SECONDS, registers })
  const checkpoint = new Gauge({ name: 'refold_recorder_checkpoint', help: 'Next offset', labelNames: ['partition'], registers })
  const lag = new Gauge({ name: 'refold_recorder_lag', help: 'Records in the log, not yet judged', labelNames: ['partition'], registers })
  watch.on('recorder:batch:stored', ({ partition, next, highWatermark, accepted, refused, ms }) => {
    events.inc({ verdict: 'accepted' }, accepted)
    events.inc({ verdict: 'other' }, refused)
    batches.observe(ms / 1000)
    checkpoint.set({ partition }, next)
    lag.set({ partition }, Math.max(0, highWatermark - next))
  })
  watch.on('recorder:batch:overtaken', () => overtaken.inc())
}

function apiMetrics(watch: Watch, registers: Registry[]): void {
  const events = new Counter({ name: 'refold_api_events_total', help: 'Events sent to REST', labelNames: ['outcome'], registers })
  const requests = new Histogram({
    name: 'refold_api_request_seconds',
    help: 'Requests answered, waits included',
    labelNames: ['method', 'route', 'status'],
    buckets: SECONDS,
    registers,
  })
  watch.on('api:request:answered', ({ method, route, status, ms }) => requests.observe({ method, route, status }, ms / 1000))
  watch.on('api:events:taken', ({ appended, refused, unknown }) => {
    events.inc({ outcome: 'appended' }, appended)
    events.inc({ outcome: 'refused' }, refused)
    events.inc({ outcome: 'unknown' }, unknown)
  })
}

function workflowMetrics(watch: Watch, registers: Registry[]): void {
  const parked = new Counter({ name: 'refold_runtime_parked_total', help: 'Executions parked', labelNames: ['kind'], registers })
  const resent = new Counter({ name: 'refold_runtime_resent_total', help: 'Times that decisions were appended again', registers })
  const foreseen = new Counter({
    name: 'refold_runtime_foreseen_total',
    help: 'Outcomes decided on before they were read back, and those of which something else came first',
    labelNames: ['result'],
    registers,
  })
  const dispatched = new Counter({ name: 'refold_runtime_dispatched_total', help: 'Attempts asked for', labelNames: ['action'], registers })
  const attempts = new Counter({
    name: 'refold_worker_attempts_total',
    help: 'Attempts ended; cached: by the result cache, skipped: nothing was to do',
    labelNames: ['action', 'outcome'],
    registers,
  })
  const durations = new Histogram({
    name: 'refold_worker_attempt_seconds',
    help: 'One attempt that ran, with its outcome in the log',
    labelNames: ['action'],
    buckets: SECONDS,
    registers,
  })
  const locks = new Counter({ name: 'refold_worker_locks_total', help: 'Locks asked for', labelNames: ['result'], registers })
  const away = new Counter({ name: 'refold_worker_redis_away_total', help: 'Calls to Redis that failed', registers })
  watch.on('runtime:execution:parked', ({ kind }) => parked.inc({ kind }))
  watch.on('runtime:decisions:resent', () => resent.inc())
  watch.on('runtime:outcome:foreseen', () => foreseen.inc({ result: 'decided' }))
  watch.on('runtime:outcome:unforeseen', () => foreseen.inc({ result: 'in-vain' }))
  watch.on('runtime:action:dispatched', ({ name }) => dispatched.inc({ action: name }))
  watch.on('worker:attempt:ended', ({ name, outcome, ms }) => {
    attempts.inc({ action: name, outcome })
    if (outcome === 'completed' || outcome === 'failed') durations.observe({ action: name }, ms / 1000)
  })
  watch.on('worker:lock:taken', () => locks.inc({ result: 'taken' }))
  watch.on('worker:lock:busy', () => locks.inc({ result: 'busy' }))
  watch.on('worker:memory:away', () => away.inc())
}

function readModelMetrics(watch: Watch, registers: Registry[]): void {
  const labelNames = ['projection', 'generation']
  const folded = new Counter({ name: 'refold_projector_events_total', help: 'Events folded', labelNames, registers })
  const batches = new Histogram({
    name: 'refold_projector_batch_seconds',
    help: 'One batch, stored',
    labelNames,
    buckets: SECONDS,
    registers,
  })
  const lag = new Gauge({
    name: 'refold_projector_lag',
    help: 'Records not folded yet',
    labelNames: [...labelNames, 'partition'],
    registers,
  })
  const told = new Counter({ name: 'refold_notifier_events_total', help: 'Notifications sent, repeats too', registers })
  const refilled = new Counter({ name: 'refold_notifier_refills_total', help: 'Times that Redis had lost the stream', registers })
  watch.on('projector:batch:stored', ({ projection, generation, partition, next, highWatermark, events, ms }) => {
    folded.inc({ projection, generation }, events)
    batches.observe({ projection, generation }, ms / 1000)
    lag.set({ projection, generation, partition }, Math.max(0, highWatermark - next))
  })
  watch.on('notifier:events:sent', ({ sent }) => told.inc(sent))
  watch.on('notifier:stream:refilled', ({ sent }) => {
    refilled.inc()
    told.inc(sent)
  })
}

function cacheMetrics(cache: CacheCounts, registers: Registry[]): void {
  const asked = new Gauge({
    name: 'refold_state_cache_lookups',
    help: 'States asked of the cache',
    labelNames: ['found'],
    registers,
    collect: () => {
      asked.set({ found: 'yes' }, cache.hits)
      asked.set({ found: 'no' }, cache.misses)
    },
  })
}

/** All metrics of this process. `cache` is the one replays use. */
export function createMetrics(watch: Watch, cache: CacheCounts): Metrics {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry, prefix: 'refold_' })
  recorderMetrics(watch, [registry])
  apiMetrics(watch, [registry])
  workflowMetrics(watch, [registry])
  readModelMetrics(watch, [registry])
  cacheMetrics(cache, [registry])
  return { contentType: registry.contentType, metrics: () => registry.metrics() }
}
