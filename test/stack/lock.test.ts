import { existsSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { alone } from '../../stack/lock.ts'

const nothing = () => undefined

t.test('of two at once the second waits, says so once, and goes on when the first is through', async (t) => {
  const file = path.join(t.testdir(), 'lock')
  const seen: string[] = []
  const { promise: firstMayEnd, resolve: endFirst } = Promise.withResolvers<void>()
  const first = alone(file, nothing, async () => {
    seen.push('first begins')
    await firstMayEnd
    seen.push('first ends')
  })
  const waits = () => {
    seen.push('second waits')
    endFirst()
  }
  await Promise.all([first, alone(file, waits, async () => seen.push('second'))])
  t.same(seen, ['first begins', 'second waits', 'first ends', 'second'])
  t.notOk(existsSync(file))
})

t.test('a holder that died is passed over, also when its pid is somebody else’s now', async (t) => {
  const file = path.join(t.testdir(), 'lock')
  writeFileSync(file, `${process.pid} 1`)
  t.equal(
    await alone(
      file,
      () => t.fail('waits'),
      async () => 'mine',
    ),
    'mine',
  )
})

t.test('work that fails lets go', async (t) => {
  const file = path.join(t.testdir(), 'lock')
  await t.rejects(
    alone(file, nothing, () => Promise.reject(new Error('no'))),
    { message: 'no' },
  )
  t.notOk(existsSync(file))
})
