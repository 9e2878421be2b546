// An issuer of JSON Web Tokens: keys that it can rotate, published by a server that it can take away.

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, type CryptoKey, type JWK as Key, SignJWT } from 'jose'
import type { Test } from 'tap'

export const ISSUER = 'https://issuer.example'
export const AUDIENCE = 'refold'

export type Issuer = {
  url: string
  /** Requests for the keys so far. */
  asked: number
  /** Answers 503 from now on. */
  away: boolean
  /** A new key, published under its name beside those there, or instead of them. */
  rotate: (kid: string, options?: { keepOld: boolean }) => Promise<void>
  /** A token of the newest key: of a tenant, valid for an hour, unless `claims` say otherwise. */
  token: (claims?: object, header?: { kid?: string; alg?: string }) => Promise<string>
}

export async function useIssuer(t: Test): Promise<Issuer> {
  let published: Key[] = []
  let key: { kid: string; secret: CryptoKey } | undefined
  const server = createServer((_, answer) => {
    issuer.asked += 1
    if (issuer.away) return answer.writeHead(503).end()
    return answer.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ keys: published }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const issuer: Issuer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`,
    asked: 0,
    away: false,
    async rotate(kid, { keepOld } = { keepOld: true }) {
      const { publicKey, privateKey } = await generateKeyPair('ES256')
      published = [...(keepOld ? published : []), { ...(await exportJWK(publicKey)), kid, alg: 'ES256', use: 'sig' }]
      key = { kid, secret: privateKey }
    },
    async token(claims = {}, header = {}) {
      const now = Math.floor(Date.now() / 1000)
      const payload = { iss: ISSUER, aud: AUDIENCE, exp: now + 3600, tenant: 'tenant-a', ...claims }
      if (!key) throw new Error('the issuer has no key yet')
      return new SignJWT(payload).setProtectedHeader({ alg: 'ES256', kid: key.kid, ...header }).sign(key.secret)
    },
  }
  await issuer.rotate('first')
  return issuer
}
