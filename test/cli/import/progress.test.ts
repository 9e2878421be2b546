import { PassThrough } from 'node:stream'
import t from 'tap'
import { duration, fraction, progressText, showProgress } from '../../../cli/import/progress.ts'
import { until } from '../../support/wait.ts'

const progress = { bytesRead: 500, bytesTotal: 1000, read: 4000, done: 2000, elapsedMs: 10_000 }

t.test('the part done counts answered rows, not rows read', async (t) => {
  t.equal(fraction(progress), 0.25)
  t.equal(fraction({ ...progress, bytesRead: 1000, done: 4000 }), 1)
  t.equal(fraction({ ...progress, read: 0, done: 0 }), 0)
  t.equal(fraction({ ...progress, bytesTotal: 0 }), 0)
})

t.test('a line says rows, rate, part and time left', async (t) => {
  t.equal(progressText(progress), '2,000 rows · 200/s · 25 % · 30 s left')
  t.equal(progressText({ ...progress, read: 0, done: 0 }), '0 rows · 0/s · 0 % · time left unknown')
})

t.test('durations are read easily', async (t) => {
  t.same([999, 59_400, 61_000, 3_600_000 + 120_000].map(duration), ['1 s', '59 s', '1 min 1 s', '1 h 2 min'])
})

t.test('a terminal gets a bar that moves', async (t) => {
  const written: string[] = []
  const terminal = Object.assign(new PassThrough(), {
    isTTY: true,
    columns: 100,
    rows: 30,
    cursorTo: () => true,
    moveCursor: () => true,
    clearLine: () => true,
  })
  terminal.setEncoding('utf8').on('data', (text: string) => written.push(text))
  const view = showProgress(() => progress, terminal as unknown as NodeJS.WriteStream)
  await until(() => written.join('').includes('2,000 rows · 200/s · 25 %'), { what: () => `the bar: ${JSON.stringify(written)}` })
  view.stop()
  t.doesNotThrow(() => view.stop(), 'stopping twice')
})
