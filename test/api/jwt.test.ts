import { SignJWT, UnsecuredJWT } from 'jose'
import t from 'tap'
import { jwtCredentials } from '../../api/jwt.ts'
import { readConfig } from '../../config.ts'
import { AUDIENCE, ISSUER, type Issuer, useIssuer } from '../support/issuer.ts'
import { fakeApi, TENANT, TOKEN } from '../support/fake-api.ts'
import { until } from '../support/wait.ts'

const settings = ({ url }: Issuer) => ({ jwksUrl: url, issuer: ISSUER, audience: AUDIENCE, tenantClaim: 'tenant' })
const IMPATIENT = { cooldown: 0 }
const now = () => Math.floor(Date.now() / 1000)

t.test('the tenant of a request is the one in its token, whatever else the request says', async (t) => {
  const issuer = await useIssuer(t)
  const api = await fakeApi(t, { jwt: jwtCredentials(settings(issuer)) })
  const seen: [string, boolean][] = []
  api.reads.verdict = async (tenant, _, nobodys) => {
    seen.push([tenant, nobodys])
    return { value: undefined, checkpoints: api.checkpoints }
  }
  const ask = (token: string, url = '/v1/verdicts/p0:1') =>
    api.app.inject({ url, headers: { authorization: `Bearer ${token}`, tenant: 'tenant-x', 'x-tenant': 'tenant-x' } })
  await ask(await issuer.token({ tenant: 'tenant-j' }))
  await ask(TOKEN)
  t.same(seen, [
    ['tenant-j', false],
    [TENANT, false],
  ])
  t.equal((await ask(await issuer.token(), '/v1/verdicts/p0:1?tenant=tenant-x')).statusCode, 200, 'and no parameter is one')
  t.equal(seen.at(-1)?.[0], 'tenant-a')
})

t.test('what is wrong with a token is said, with 401', async (t) => {
  const issuer = await useIssuer(t)
  const api = await fakeApi(t, { jwt: jwtCredentials(settings(issuer), IMPATIENT) })
  const other = await useIssuer(t)
  const shared = new TextEncoder().encode('a secret that both know, which is no key of the JWKS')
  const tokens: [string, string | Promise<string>, RegExp][] = [
    ['expired', issuer.token({ exp: now() - 60 }), /has expired/],
    ['no expiry', issuer.token({ exp: undefined }), /claim exp is missing/],
    ['not yet valid', issuer.token({ nbf: now() + 600 }), /not valid yet/],
    ['another issuer', issuer.token({ iss: 'https://else.example' }), /not of the issuer https:\/\/issuer\.example/],
    ['another audience', issuer.token({ aud: 'other' }), /not for the audience refold/],
    ['no audience', issuer.token({ aud: undefined }), /not for the audience refold/],
    ['no tenant', issuer.token({ tenant: undefined }), /claim tenant is not the name of a tenant/],
    ['an empty tenant', issuer.token({ tenant: '' }), /claim tenant/],
    ['a tenant with a line feed', issuer.token({ tenant: '\n' }), /claim tenant/],
    ['a tenant that is no text', issuer.token({ tenant: ['tenant-a'] }), /claim tenant/],
    ['a key not published', other.token({}, { kid: 'unheard' }), /does not publish/],
    ["another's signature under a known name", other.token(), /signature is not of the key/],
    ['no signature', new UnsecuredJWT({ tenant: 'tenant-a' }).setIssuer(ISSUER).encode(), /asymmetric/],
    ['a shared secret', new SignJWT({ tenant: 'tenant-a' }).setProtectedHeader({ alg: 'HS256', kid: 'first' }).sign(shared), /asymmetric/],
    ['not a JWT', 'a.b.c', /can be read/],
    ['an unknown token', 'abc', /not known here/],
  ]
  for (const [what, token, why] of tokens) {
    const answer = await api.app.inject({ url: '/v1/executions', headers: { authorization: `Bearer ${await token}` } })
    t.equal(answer.statusCode, 401, what)
    t.match(answer.json(), { type: 'urn:refold:problem:unauthenticated', detail: why }, what)
    t.match(answer.headers['www-authenticate'], /^Bearer/)
  }
})

t.test('a new key works at once; one taken away does no more', async (t) => {
  const issuer = await useIssuer(t)
  const credential = jwtCredentials(settings(issuer), { cooldown: 0, remembered: 0 })
  const first = await issuer.token()
  t.same(await credential(first), { tenant: 'tenant-a', operator: false })
  t.equal(issuer.asked, 1)
  await issuer.rotate('second')
  t.same(await credential(await issuer.token()), { tenant: 'tenant-a', operator: false })
  t.same(await credential(first), { tenant: 'tenant-a', operator: false }, 'the old one is published still')
  t.equal(issuer.asked, 2, 'keys are asked for only when one is not known')
  await issuer.rotate('third', { keepOld: false })
  await credential(await issuer.token())
  await t.rejects(credential(first), { code: 'unauthenticated', detail: /does not publish/ })
})

t.test('unknown keys make us ask the key server only so often', async (t) => {
  const issuer = await useIssuer(t)
  const credential = jwtCredentials(settings(issuer))
  await credential(await issuer.token())
  const strange = await issuer.token({}, { kid: 'strange' })
  for (let i = 0; i < 20; i++) await t.rejects(credential(strange), { code: 'unauthenticated' })
  t.equal(issuer.asked, 1)
})

t.test('keys are fetched again beside the requests, so that one withdrawn ends', async (t) => {
  const issuer = await useIssuer(t)
  const credential = jwtCredentials(settings(issuer), { cooldown: 0, refreshAfter: 0, remembered: 0 })
  const token = await issuer.token()
  await credential(token)
  await issuer.rotate('second', { keepOld: false })
  // The refresh goes beside the request that starts it: one of the next is refused, without any token of the new key.
  const refused = () =>
    credential(token).then(
      () => undefined,
      (error: unknown) => error,
    )
  t.match(await until(refused), { code: 'unauthenticated', detail: /does not publish/ })
})

t.test('a key server that is away refuses nobody whose key is known; others are told to come again', async (t) => {
  const issuer = await useIssuer(t)
  issuer.away = true
  const api = await fakeApi(t, { jwt: jwtCredentials(settings(issuer), { cooldown: 0, refreshAfter: 0, remembered: 0 }) })
  const ask = (token: string) => api.app.inject({ url: '/v1/executions', headers: { authorization: `Bearer ${token}` } })
  const token = await issuer.token()
  const early = await ask(token)
  t.equal(early.statusCode, 503)
  t.equal(early.headers['retry-after'], '5')
  t.match(early.json(), { type: 'urn:refold:problem:keys-unavailable', retryable: true })
  issuer.away = false
  t.equal((await ask(token)).statusCode, 200)
  issuer.away = true
  for (let i = 0; i < 5; i++) t.equal((await ask(token)).statusCode, 200)
  t.equal((await ask(TOKEN)).statusCode, 200, 'API tokens need no key')
})

t.test('a token is an operator by the claim that is set, and by no other', async (t) => {
  const issuer = await useIssuer(t)
  const isOperator = async (operatorClaim: string | undefined, claims: object) => {
    const credential = jwtCredentials({ ...settings(issuer), operatorClaim })
    return (await credential(await issuer.token({ ...claims }))).operator
  }
  t.equal(await isOperator(undefined, { operator: true, roles: ['operator'] }), false)
  t.equal(await isOperator('operator', { operator: true }), true)
  t.equal(await isOperator('operator', { operator: 'false' }), false)
  t.equal(await isOperator('roles=ops', { roles: ['dev', 'ops'] }), true)
  t.equal(await isOperator('roles=ops', { roles: ['devops'] }), false)
  t.equal(await isOperator('scope=ops', { scope: 'read ops' }), true)
  t.equal(await isOperator('role=ops', { role: 'ops' }), true)
  t.equal(await isOperator('https://example.com/roles=ops', { 'https://example.com/roles': ['ops'] }), true)
})

t.test('a verified token stands for the same tenant when it comes again; clocks may differ a little', async (t) => {
  const issuer = await useIssuer(t)
  const credential = jwtCredentials(settings(issuer))
  const token = await issuer.token({ exp: now() - 10 })
  t.equal((await credential(token)).tenant, 'tenant-a', 'within what clocks may differ')
  const other = await issuer.token({ tenant: 'tenant-b' })
  t.equal((await credential(other)).tenant, 'tenant-b')
  t.equal((await credential(other)).tenant, 'tenant-b')
})

t.test('the settings of tokens belong together', async (t) => {
  const env = { REFOLD_JWKS_URL: 'https://issuer.example/keys', REFOLD_JWT_ISSUER: ISSUER, REFOLD_JWT_AUDIENCE: AUDIENCE }
  t.match(readConfig(env), { jwksUrl: env.REFOLD_JWKS_URL, jwtTenantClaim: 'tenant' })
  t.throws(() => readConfig({ ...env, REFOLD_JWT_AUDIENCE: '' }), { code: 'config-invalid', detail: /REFOLD_JWT_AUDIENCE/ })
  t.throws(() => readConfig({ ...env, REFOLD_JWT_ISSUER: undefined }), { code: 'config-invalid' })
  t.throws(() => readConfig({ ...env, REFOLD_JWKS_URL: 'file:///etc/keys' }), { code: 'config-invalid', detail: /REFOLD_JWKS_URL/ })
})
