import fc from 'fast-check'
import t from 'tap'
import { timestamp } from '../../postgres/copy.ts'
import { LIMITS } from '../../workflow/limits.ts'

t.test('every time that the format allows is written as toISOString writes it', async () => {
  const time = fc.integer({ min: LIMITS.earliest, max: LIMITS.latest })
  fc.assert(
    fc.property(fc.array(fc.tuple(time, fc.integer({ min: -1000, max: 1000 })), { minLength: 1 }), (times) =>
      times.every(([at, later]) => {
        const near = Math.min(Math.max(at + later, LIMITS.earliest), LIMITS.latest)
        return [at, near].every((ms) => timestamp(ms) === new Date(ms).toISOString())
      }),
    ),
    { examples: [[[[LIMITS.earliest, 0]]], [[[LIMITS.latest, 0]]], [[[0, -1]]], [[[86_399_999, 1]]]] },
  )
})
