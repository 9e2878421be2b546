import t from 'tap'
import { fakeApi } from '../support/fake-api.ts'

t.test('a position beyond the log is refused, one that is not recorded yet is waited for', async (t) => {
  const ends = new Map([[3, 120]])
  let away = false
  const api = await fakeApi(t, {
    logEnds: async () => {
      if (away) throw new Error('away')
      return ends
    },
  })
  api.checkpoints.set(3, 100)
  const refused = { statusCode: 400, body: /beyond the log, which ends before p3:120/ }
  for (const [after, wanted] of [
    ['p3:99', { statusCode: 200 }],
    ['p3:119', { statusCode: 200 }],
    ['p3:120', refused],
    ['p3:5000', refused],
    ['p0:0,p3:5000', refused],
  ] as const)
    t.match(await api.send(`/v1/events?after=${after}`), wanted, after)
  t.match(await api.send({ url: '/v1/stream', headers: { 'last-event-id': 'p3:5000' } }), {
    statusCode: 400,
    body: /Last-Event-ID: p3:5000 is beyond/,
  })
  t.match(await api.send('/v1/stream?after=p3:5000'), { statusCode: 400, body: /after: p3:5000 is beyond/ })
  const missing = { statusCode: 400, body: /there is no partition p77; the log has p0 to/ }
  t.match(await api.send('/v1/events?after=p77:1'), missing)
  t.match(await api.send('/v1/stream?after=p77:1'), missing)
  t.match(await api.send({ url: '/v1/stream', headers: { 'last-event-id': 'p3:1,p77:1' } }), missing)
  away = true
  t.equal((await api.send('/v1/events?after=p3:5000')).statusCode, 200, 'nothing is known of the log: nothing is refused')
})
