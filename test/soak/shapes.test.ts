// Roles die together as well as apart.

import t from 'tap'
import type { FaultPoint } from '../../faults.ts'
import { Kept } from './kept.ts'
import { type Shape, SHAPES, shapeOf } from './shapes.ts'

t.test('the first two seeds of a soak are of both shapes', async (t) => {
  t.strictSame([1, 2].map(shapeOf), ['together', 'apart'])
})

t.test('a process can be asked for the fault points of each of its roles', async (t) => {
  const who = (shape: Shape, point: FaultPoint) =>
    SHAPES[shape]
      .map(([name, roles]) => new Kept(name, roles, {}))
      .filter((one) => one.reaches(point))
      .map(({ name }) => name)
  t.strictSame(who('apart', 'runtime:request:dispatched'), ['runtime-1', 'runtime-2'])
  t.strictSame(who('together', 'runtime:request:dispatched'), ['recorder', 'runtime-1', 'runtime-2', 'worker-2'])
  t.strictSame(who('together', 'worker:attempt:done'), ['recorder', 'runtime-2', 'worker-1', 'worker-2'])
  t.strictSame(who('together', 'recorder:batch:read'), ['recorder'])
  t.strictSame(who('together', 'notifier:page:added'), ['recorder'])
  t.strictSame(who('apart', 'notifier:page:added'), [])
})
