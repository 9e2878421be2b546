// One verdict, and the record behind it appended again, over what the real recorder wrote into a real Postgres.

import t from 'tap'
import { RefoldError } from '../../errors.ts'
import { createEventCodec } from '../../schemas/codec.ts'
import { WORKFLOW_EVENT_SCHEMA } from '../../schemas/generated.ts'
import { partitionOf } from '../../workflow/partition.ts'
import { event as built, EXECUTION } from '../support/events.ts'
import { fakeApi, OTHER_TENANT, TENANT } from '../support/fake-api.ts'
import { recordedApi } from '../support/recorded-api.ts'
import { useStack } from '../support/stack.ts'

const HOME = partitionOf(EXECUTION, 4)
const OTHER = (HOME + 1) % 4
const redrive = (position: string) => ({ method: 'POST' as const, url: `/v1/verdicts/${position}/redrive` })
const bytes = (schemaId: number, changes: Parameters<typeof built>[0]) => createEventCodec({ schemaId }).encode(built(changes))

t.test('redrive', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return

  t.test('a record on the wrong partition is mended: it goes where its key belongs, and counts once', async (t) => {
    const { record, send, foreign } = await recordedApi(t, databaseUrl)
    const value = bytes(1, { tenant: 'tenant-a', to_state: 'mended' })
    const lost = foreign({ partition: OTHER, key: EXECUTION, value })
    t.match((await send('a', `/v1/verdicts/${lost}`)).json(), { position: lost, verdict: 'pending' })
    await record()
    const shown = await send('a', `/v1/verdicts/${lost}`)
    t.match(shown.json(), { verdict: 'quarantined', reason: 'wrong-partition', tenant: 'tenant-a', redrivable: true })
    t.equal(shown.json<{ record: { value: string } }>().record.value, Buffer.from(value).toString('base64'))

    const first = await send('a', redrive(lost))
    t.equal(first.statusCode, 202)
    const { position } = first.json<{ position: string }>()
    t.match(first.json(), { redriven: lost, verdict: 'pending' })
    t.equal(position.split(':')[0], `p${HOME}`)
    t.equal(first.headers['location'], `/v1/verdicts/${position}`)
    t.equal(first.headers['refold-position'], position)
    const second = send('a', { ...redrive(lost), headers: { prefer: 'wait=60' } })
    await new Promise(setImmediate)
    for (let settled = false; !settled; await record()) settled = await Promise.race([second.then(() => true), record().then(() => false)])
    t.match((await second).json(), { verdict: 'duplicate', reason: 'same-content' })
    t.match((await send('a', `/v1/verdicts/${position}`)).json(), { verdict: 'accepted', seq: 1, event_name: 'order.placed' })
    t.match((await send('a', `/v1/executions/${EXECUTION}`)).json(), { lastSeq: 1, currentState: 'mended' })
    t.same((await send('a', `/v1/verdicts/${lost}`)).json(), shown.json(), 'a stored verdict is never revised')
  })

  t.test('a record whose schema is registered by now passes; nobody’s record is redriven by operators only', async (t) => {
    let registered = false
    const { record, send, foreign } = await recordedApi(t, databaseUrl, async () =>
      registered ? { state: 'found', text: WORKFLOW_EVENT_SCHEMA } : { state: 'unknown' },
    )
    const mine = foreign({ partition: HOME, key: EXECUTION, value: bytes(7, { tenant: 'tenant-a' }) })
    const theirs = foreign({ partition: HOME, key: EXECUTION, value: bytes(7, { tenant: 'tenant-b' }) })
    await record()
    t.match((await send('a', `/v1/verdicts/${mine}`)).json(), { reason: 'schema-unknown', tenant: null })
    for (const request of [redrive(mine), `/v1/verdicts/${mine}`]) t.equal((await send('b', request)).statusCode, 404)
    registered = true
    const { position } = (await send('a', redrive(mine))).json<{ position: string }>()
    await record()
    t.match((await send('a', `/v1/verdicts/${position}`)).json(), { verdict: 'accepted', seq: 1 })

    const waited = send('a', { ...redrive(theirs), headers: { prefer: 'wait=60' } })
    for (let settled = false; !settled;) settled = await Promise.race([waited.then(() => true), record().then(() => false)])
    const answer = (await waited).json<{ position: string; verdict?: string }>()
    t.equal(answer.verdict, undefined, 'the operator is told nothing of another tenant')
    t.equal((await send('a', `/v1/verdicts/${answer.position}`)).statusCode, 404)
    t.match((await send('b', `/v1/verdicts/${answer.position}`)).json(), { verdict: 'accepted', seq: 1 })
  })

  t.test('what an operator may see leaks to nobody: on shared connections, some of which end in between', async (t) => {
    const { record, send, foreign, database } = await recordedApi(t, databaseUrl)
    const nobodys = foreign({ partition: HOME, key: EXECUTION, value: Buffer.from('garbage') })
    const theirs = foreign({ partition: OTHER, key: EXECUTION, value: bytes(1, { tenant: 'tenant-a' }) })
    await record()
    const endAll = 'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()'
    const seen = new Map<string, number>()
    const ask = async (as: 'a' | 'b', url: string) => {
      const { statusCode } = await send(as, url)
      const key = `${as} ${url} ${statusCode}`
      seen.set(key, (seen.get(key) ?? 0) + 1)
    }
    for (let round = 0; round < 60; round++) {
      const asked = Array.from({ length: 12 }, (_, n) => ask(n % 2 === 0 ? 'a' : 'b', `/v1/verdicts/${n % 3 === 0 ? theirs : nobodys}`))
      if (round % 10 === 5) await database.admin.query(endAll)
      await Promise.all(asked)
    }
    t.ok((seen.get(`a /v1/verdicts/${nobodys} 200`) ?? 0) > 100, 'the operator saw it all the while')
    t.same(
      [...seen.keys()].filter((key) => key.startsWith('b ') && !/ (404|503)$/.test(key)),
      [],
    )
  })

  t.test('what can never count is refused with the reason', async (t) => {
    const { record, send, post, foreign } = await recordedApi(t, databaseUrl)
    const event = { execution_id: EXECUTION, event_name: 'x', event_id: '33333333-3333-4333-8333-333333333333' }
    const sent = (await post('a', [event, event, { ...event, to_state: 'other' }])).json<{ outcomes: { position: string }[] }>()
    const empty = foreign({ partition: 0, key: EXECUTION, value: new Uint8Array(0) })
    const keyless = foreign({ partition: 0, key: '', value: new Uint8Array([1]) })
    await record()
    const [accepted = '', duplicate = '', conflict = ''] = sent.outcomes.map(({ position }) => position)
    const refused = async (position: string) => (await send('a', redrive(position))).json<{ status: number; detail: string }>()
    const impossible = { status: 409, type: 'urn:refold:problem:redrive-impossible' }
    t.match(await refused(accepted), { ...impossible, detail: /was accepted/ })
    t.match(await refused(duplicate), { ...impossible, detail: /duplicate/ })
    t.match(await refused(empty), { ...impossible, detail: /no value/ })
    t.match(await refused(keyless), { ...impossible, detail: /no key/ })
    t.match(await refused('p0:999'), { status: 404 })
    t.match(await refused('p9:0'), { status: 404 })
    t.match(await refused('7'), { status: 400 })
    t.equal((await send('b', redrive(conflict))).statusCode, 404)
    t.equal((await send('a', '/v1/verdicts/p9:0')).statusCode, 404)
    const again = (await send('a', redrive(conflict))).json<{ position: string }>()
    await record()
    t.match((await send('a', `/v1/verdicts/${again.position}`)).json(), { verdict: 'conflict', reason: 'other-content' })
  })

  t.test('the snapshots of an execution are listed, and a spoiled one is told', async (t) => {
    const { record, send, post, database } = await recordedApi(t, databaseUrl)
    const url = `/v1/executions/${EXECUTION}/snapshots`
    await post('a', [{ execution_id: EXECUTION, event_name: 'x' }])
    await record()
    t.same((await send('a', url)).json(), { snapshots: [] })
    await post(
      'a',
      Array.from({ length: 60 }, (_, n) => ({ execution_id: EXECUTION, event_name: 'x', payload: { n: `ä${n}` } })),
    )
    await record()
    await database.admin.query("UPDATE refold_derived_g1.workflow_snapshots SET state = replace(state, 'ä', 'ö') WHERE seq = 40")
    await database.admin.query('UPDATE refold_derived_g1.workflow_snapshots SET fold_version = 0 WHERE seq = 20')
    const { rows } = await database.admin.query<{ bytes: number }>(
      'SELECT octet_length(state) AS bytes FROM refold_derived_g1.workflow_snapshots ORDER BY seq DESC',
    )
    t.match((await send('a', url)).json(), {
      snapshots: [
        { seq: 60, bytes: rows[0]?.bytes, intact: true, usable: true, recordedUntil: /^20.*Z$/, createdUntil: /^20.*Z$/ },
        { seq: 40, intact: false, usable: false },
        { seq: 20, foldVersion: 0, usable: false },
      ],
    })
    t.equal((await send('b', url)).statusCode, 404)
  })
})

const lateOf = (tenant: string | null) => {
  const known = { verdict: 'late', seq: null, reason: 'ended', detail: '', tenant, execution_id: null, event_id: null, event_name: null }
  return { ...known, record_key: 'YQ==', record_value: 'YQ==', appended_at: '', decided_at: '' }
}

t.test('should the reads ever hand out a record that does not concern the request, the API does not', async (t) => {
  const { send, reads, appended } = await fakeApi(t)
  for (const tenant of [null, OTHER_TENANT]) {
    reads.verdict = async () => ({ value: lateOf(tenant), checkpoints: new Map([[0, 2]]) })
    t.equal((await send(redrive('p0:1'))).statusCode, 404)
    t.equal((await send('/v1/verdicts/p0:1')).statusCode, 404)
  }
  t.same(appended, [])
})

t.test('a redrive stands when Postgres goes away before its verdict is read', async (t) => {
  const { send, reads } = await fakeApi(t)
  const row = lateOf(TENANT)
  reads.verdict = async () => ({ value: row, checkpoints: new Map() })
  reads.checkpoints = () => Promise.reject(new RefoldError('database-unavailable', 'gone'))
  const answer = await send({ ...redrive('p0:1'), headers: { prefer: 'wait=5' } })
  t.equal(answer.statusCode, 202)
  t.same(answer.json(), { redriven: 'p0:1', position: 'p0:0', verdict: 'pending' })
})
