import t from 'tap'
import type { LogAppend } from '../../kafka/log.ts'
import { createRedriver, whyNotAgain } from '../../producers/redrive.ts'
import { partitionOf } from '../../workflow/partition.ts'
import { EXECUTION } from '../support/events.ts'

const bytes = (text: string) => new TextEncoder().encode(text)

function redriver() {
  const appended: LogAppend[] = []
  const append = async (record: LogAppend) => {
    appended.push(record)
    return { partition: record.partition, offset: 7, appendedAt: 1 }
  }
  return { appended, ...createRedriver({ log: { append }, topic: 'refold.events', partitions: 12 }) }
}

t.test('key and value are appended byte for byte, where murmur2 of the key says', async (t) => {
  const { redrive, appended } = redriver()
  const value = new Uint8Array([0, 0, 0, 0, 9, 255])
  t.match(await redrive({ key: bytes(EXECUTION), value }), { offset: 7 })
  t.match(await redrive({ key: bytes('\ufeffä'), value }), { offset: 7 })
  t.strictSame(appended, [
    { topic: 'refold.events', partition: partitionOf(EXECUTION, 12), key: EXECUTION, value },
    { topic: 'refold.events', partition: partitionOf('\ufeffä', 12), key: '\ufeffä', value },
  ])
})

t.test('a record of which too little is kept is not appended', async (t) => {
  const { redrive, appended } = redriver()
  const whole = { key: bytes(EXECUTION), value: bytes('x') }
  t.equal(whyNotAgain(whole), undefined)
  for (const [lack, said] of [
    [{ value: null }, /no value/],
    [{ value: bytes('') }, /no value/],
    [{ key: null }, /no key/],
    [{ key: bytes('') }, /no key/],
    [{ key: new Uint8Array([0xff]) }, /not text/],
  ] as const)
    await t.rejects(redrive({ ...whole, ...lack }), { code: 'redrive-impossible', detail: said })
  t.strictSame(appended, [])
})
