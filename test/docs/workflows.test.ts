// docs/workflows.md is true: its blocks are regions of programs that run. Here the one with an action of each guarantee, on real
// servers, logged in as the role of docs/operations.md.

import { once } from 'node:events'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import t from 'tap'
import { fillBlocks, regionOf } from '../../docs/regions.ts'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { restOf } from '../support/rest.ts'
import { useStack } from '../support/stack.ts'

const DOCS = path.join(import.meta.dirname, '..', '..', 'docs')

t.test('its blocks are what the files say', async (t) => {
  const page = readFileSync(path.join(DOCS, 'workflows.md'), 'utf8')
  t.equal(page, fillBlocks(page, DOCS))
  t.notMatch(page, /```\w+\n\n?```/, 'no block is empty')
})

t.test('an action of each guarantee, on a role that is no superuser', { timeout: 120_000 }, async (t) => {
  const stack = useStack(t, ['kafka', 'registry', 'postgres', 'redis'])
  if (!stack.databaseUrl) return
  const asked: { url: string; headers: IncomingHttpHeaders }[] = []
  const partners = createServer((request, response) => {
    asked.push({ url: request.url ?? '', headers: request.headers })
    response.end('p1')
  }).listen(0, '127.0.0.1')
  await once(partners, 'listening')
  t.teardown(() => partners.close())

  const installation = await useInstallation(t, stack, 'token=tenant')
  const { admin, url: databaseUrl } = installation.database
  const login = `docs_login_${randomBytes(4).toString('hex')}`
  const as = new URL(databaseUrl)
  await admin.query(`CREATE ROLE ${login} LOGIN PASSWORD 'choose one'; GRANT refold_engine, refold_api TO ${login};
    ALTER DATABASE ${as.pathname.slice(1)} OWNER TO ${login}`)
  await admin.query(regionOf(readFileSync(path.join(DOCS, 'examples', 'hotel.sql'), 'utf8'), 'tables').replaceAll('refold_login', login))
  // Before the database is dropped: what the role has is in it.
  t.teardown(() => admin.query(`REASSIGN OWNED BY ${login} TO CURRENT_USER; DROP OWNED BY ${login}; DROP ROLE ${login}`))
  as.username = login
  as.password = 'choose one'
  const { url } = await startRefold(t, installation, 'api,recorder,runtime,worker', {
    app: path.join(DOCS, 'examples', 'hotel.ts'),
    env: {
      DATABASE_URL: as.href,
      REFOLD_SECRET_PAYMENTS: 'of the worker',
      HOTEL_PARTNERS: `http://127.0.0.1:${(partners.address() as AddressInfo).port}`,
    },
  })

  const rest = restOf(url, 'token')
  const stay = async (room: string) => {
    const body = JSON.stringify({ workflow: 'stay', version: '1', input: { room, day: '2026-07-01' } })
    const { executionId } = (await rest.post('/v1/executions', body, { 'content-type': 'application/json' })).json() as {
      executionId: string
    }
    return (await rest.get(`/v1/executions/${executionId}/result`, { prefer: 'wait=60' })).json()
  }
  const first = (await stay('12')) as { result: { booking: string } }
  t.match(first, { status: 'completed', result: { booking: String, posted: true, pages: 5 } })
  t.match(await stay('12'), { status: 'completed', result: { booking: null } }, 'a room is booked once')
  t.match(asked, [
    {
      url: '/payments?cents=9000',
      headers: { authorization: 'Bearer of the worker', 'idempotency-key': `stay-${first.result.booking}` },
    },
    { url: `/letters?booking=${first.result.booking}` },
  ])
  t.equal(asked.length, 2)
  const { rows } = await admin.query('SELECT room, booking FROM hotel.bookings')
  t.strictSame(rows, [{ room: '12', booking: first.result.booking }])
})
