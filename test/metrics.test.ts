import t from 'tap'
import { createMetrics } from '../metrics.ts'
import { createWatch } from '../watch.ts'

t.test('what happened is counted', async (t) => {
  const watch = createWatch()
  const cache = { hits: 3, misses: 1 }
  const { metrics, contentType } = createMetrics(watch, cache)
  t.match(contentType, /^text\/plain/)
  const stored = { partition: 2, next: 10, highWatermark: 15, accepted: 4, refused: 1, ms: 20 }
  watch.emit('recorder:batch:stored', stored)
  watch.emit('recorder:batch:stored', { ...stored, next: 15 })
  watch.emit('recorder:batch:overtaken', { partition: 2, expected: 15 })
  watch.emit('api:events:taken', { appended: 5, refused: 2, unknown: 1 })
  watch.emit('api:request:answered', { method: 'GET', route: '/livez', status: 200, ms: 3 })
  const text = await metrics()
  for (const line of [
    'refold_recorder_records_total{verdict="accepted"} 8',
    'refold_recorder_records_total{verdict="other"} 2',
    'refold_recorder_overtaken_total 1',
    'refold_recorder_checkpoint{partition="2"} 15',
    'refold_recorder_lag{partition="2"} 0',
    'refold_recorder_batch_seconds_count 2',
    'refold_api_events_total{outcome="appended"} 5',
    'refold_api_events_total{outcome="unknown"} 1',
    'refold_api_request_seconds_count{method="GET",route="/livez",status="200"} 1',
    'refold_state_cache_lookups{found="yes"} 3',
  ])
    t.ok(text.split('\n').includes(line), line)
})
