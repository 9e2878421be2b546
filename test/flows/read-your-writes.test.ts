// A position that a write answered, handed to a read: the read shows that write, however late the recorder is, or says it can't.

import t from 'tap'
import { partitionOf } from '../../workflow/partition.ts'
import { parsePosition } from '../../workflow/position.ts'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { eachOf, outcomesOf, restOf } from '../support/rest.ts'
import { useStack } from '../support/stack.ts'

const SEED = 20_261_122
const CLIENTS = 100
const WRITES = 10
const PARTITIONS = 12

type Seen = { lastSeq?: number; seq?: number; data?: { n: number }; events?: { seq: number; payload: { n: number } }[] }

/** The newest write that an answer shows, by its number. */
const newestOf = ({ data, events }: Seen): number => data?.n ?? Math.max(0, ...(events ?? []).map(({ payload }) => payload.n))

t.test('a read with the position of a write', { timeout: 300_000 }, async (t) => {
  const addresses = useStack(t, ['kafka', 'registry', 'postgres'])
  if (!addresses.databaseUrl) return
  const installation = await useInstallation(t, addresses, 'token=tenant')
  Object.assign(installation.env, { REFOLD_FAULTS: 'recorder:batch:read=wait0-500@every', REFOLD_FAULT_SEED: String(SEED) })
  const { url } = await startRefold(t, installation, 'api')
  const rest = restOf(url, 'token')
  const recorder = await startRefold(t, installation, 'recorder')

  await t.test(`${CLIENTS * WRITES} writes read back while the recorder is late by up to 500 ms: none is missed`, async (t) => {
    const paths = ['', '/state', '/events?limit=1000', '/state?seq=']
    const wrong: string[] = []
    let waited = 0
    await eachOf(Array.from({ length: CLIENTS }).keys(), CLIENTS, async (client) => {
      for (let n = 1; n <= WRITES; n++) {
        const answer = await rest.send([{ event_name: 'x', workflow_name: 'w', business_key: `c${client}`, payload: { n } }])
        const [{ execution_id: id, position } = { execution_id: '', position: '' }] = outcomesOf(answer)
        let path = paths[(client + n) % paths.length] ?? ''
        if (path.endsWith('seq=')) path += n
        const before = performance.now()
        const read = await rest.get(`/v1/executions/${id}${path}${path.includes('?') ? '&' : '?'}minPosition=${position}`, {
          prefer: 'wait=60',
        })
        if (performance.now() - before > 100) waited++
        if (read.status !== 200 || newestOf(read.json() as Seen) !== n)
          wrong.push(`client ${client}, write ${n}: ${read.status} ${read.text}`)
      }
    })
    t.same(wrong, [])
    t.ok(waited > CLIENTS, `${waited} reads had to wait: the recorder was late`)
  })

  await t.test('the recorder stopped: 412 with the gap, and no read hangs', async (t) => {
    await recorder.stop()
    const event = { event_name: 'x', workflow_name: 'w', business_key: 'c0', payload: { n: WRITES + 1 } }
    const [one] = outcomesOf(await rest.send([event, event]))
    const path = `/v1/executions/${one?.execution_id}`
    const last = parsePosition(one?.position ?? '')
    if (!last) throw new Error('no position')
    t.equal(last.partition, partitionOf(one?.execution_id ?? '', PARTITIONS))
    const asked = { partition: last.partition, asked: last.offset + 1, checkpoint: last.offset, behind: 2 }
    for (const prefer of [undefined, 'wait=1']) {
      const began = performance.now()
      const read = await rest.get(`${path}?minPosition=p${last.partition}:${last.offset + 1}`, prefer ? { prefer } : {})
      const ms = performance.now() - began
      t.equal(read.status, 412)
      t.match(read.json(), { type: 'urn:refold:problem:position-not-reached', gap: [asked], retryable: true })
      t.ok(read.headers.get('retry-after'), 'and when to ask again')
      t.ok(ms < 15_000 && (!prefer || ms >= 990), `${prefer ?? 'no wait'}: answered after ${Math.round(ms)} ms`)
    }
    const receipt = await rest.get(`${path}/receipts/${one?.event_id}?position=${one?.position}`, { prefer: 'wait=1' })
    t.match(receipt.json(), { verdict: 'pending', position: one?.position }, 'a receipt is pending')
    t.match((await rest.get(path)).json(), { data: { n: WRITES } }, 'without a position the last known state is read')
    const lists = ['/v1/executions?', '/v1/events?', '/v1/verdicts?', `${path}/events?`, `${path}/state?`]
    for (const list of lists) t.equal((await rest.get(`${list}minPosition=${one?.position}`)).status, 412, list)
  })
})
