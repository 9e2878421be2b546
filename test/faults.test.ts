import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { NO_FAULTS, readFaults } from '../faults.ts'

t.test('no orders, no faults', async (t) => {
  t.equal(readFaults(undefined, undefined), NO_FAULTS)
  t.equal(NO_FAULTS.at('api:event:appending'), undefined)
})

t.test('an order acts at the n-th hit of its point, and is noted', async (t) => {
  const file = path.join(t.testdir(), 'hits')
  const faults = readFaults('api:event:appended=throw@2', file)
  t.equal(faults.at('api:event:appended'), undefined)
  t.equal(faults.at('api:event:appending'), undefined, 'other points are counted by themselves')
  t.throws(() => faults.at('api:event:appended'), /fault at api:event:appended/)
  t.equal(faults.at('api:event:appended'), undefined)
  t.equal(readFileSync(file, 'utf8'), 'api:event:appended throw\n')
})

t.test('`every` acts each time, with waits between two bounds', async (t) => {
  const faults = readFaults('recorder:batch:read=wait0-2@every', undefined, 7)
  t.type(faults.at('recorder:batch:read'), Promise)
  t.type(faults.at('recorder:batch:read'), Promise)
})

t.test('what is no order is refused by name', async (t) => {
  for (const orders of ['nowhere=kill@1', 'recorder:batch:read=fly@1', 'recorder:batch:read=wait5-1@every', 'recorder:batch:read=kill'])
    t.throws(() => readFaults(orders, undefined), { code: 'config-invalid', detail: new RegExp(orders) })
})
