// The entries that a member has in hand, the one being handled and those that wait behind it: nobody takes them over.
//
// Redis knows of an entry only when it was delivered, not whether its member lives. So a member renews what it has in hand: a claim
// by its own hand, which counts no delivery. One that died renews nothing, and its entries are taken over when they are idle.
//
// C1  Only what is still ours is renewed; looking and renewing are one step, or it would be taken from who has it now.
// C2  No handler begins on a claim that was not renewed for a third of `idle`: a process that stood still asks first.
// C3  What the stream dropped meanwhile can't be taken over by anybody: it is handled by who has it. (Redis 6 renews it as any
//     other; Redis 7 forgets the claim when it is renewed.)

import type { Redis } from 'ioredis'

/** Renewals within `idle`: two may be late. */
const RENEWALS = 3
const LONGEST = 2 ** 31 - 1

/** For each id: 1 renewed, 0 not ours any more, 2 ours, and no longer in the stream. */
const RENEW = `
local answers = {}
for i = 3, #ARGV do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2]) == 0 then
    answers[i - 2] = 0
  elseif #redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'JUSTID') == 0 then
    answers[i - 2] = 2
  else
    answers[i - 2] = 1
  end
end
return answers`

type Member = { stream: string; group: string; consumer: string; idle: number }

export class Claims {
  readonly #redis: Redis
  readonly #member: Member
  readonly #every: number
  readonly #timer: NodeJS.Timeout
  /** When each was renewed, at the earliest; Infinity: nobody else can have it. */
  readonly #renewed = new Map<string, number>()
  #renewing: Promise<void> | undefined

  constructor(redis: Redis, member: Member) {
    this.#redis = redis
    this.#member = member
    this.#every = Math.min(Math.max(1, member.idle / RENEWALS), LONGEST)
    // Whoever needs the answer asks again; a Redis that is away is told of elsewhere, and asked once.
    this.#timer = setInterval(() => void (this.#renewing ??= this.#renewAll()), this.#every)
  }

  async #renewAll(): Promise<void> {
    await this.renew([...this.#renewed.keys()]).catch(() => undefined)
    this.#renewing = undefined
  }

  /** `asked`: performance.now() before they were asked for; their idle time began later. */
  hold(ids: readonly string[], asked: number): void {
    for (const id of ids) this.#renewed.set(id, asked)
  }

  release(ids: readonly string[]): void {
    for (const id of ids) this.#renewed.delete(id)
  }

  /** Lets go of what will not be handled here: others may take it over. */
  keepOnly(id: string | undefined): void {
    this.release([...this.#renewed.keys()].filter((held) => held !== id))
  }

  has(id: string): boolean {
    return this.#renewed.has(id)
  }

  /** Whether one in hand may be handled: false when another member has claimed it meanwhile. */
  async isOurs(id: string): Promise<boolean> {
    const renewed = this.#renewed.get(id)
    if (renewed !== undefined && performance.now() - renewed >= this.#every) await this.renew([...this.#renewed.keys()])
    return this.has(id)
  }

  /** Their idle time begins anew. */
  async renew(ids: readonly string[]): Promise<void> {
    const due = ids.filter((id) => this.#renewed.get(id) !== Infinity)
    if (due.length === 0) return
    const { stream, group, consumer } = this.#member
    const asked = performance.now()
    const answers = (await this.#redis.eval(RENEW, 1, stream, group, consumer, ...due)) as number[]
    for (const [i, id] of due.entries()) {
      if (!this.has(id)) continue
      if (answers[i] === 0) this.#renewed.delete(id)
      else this.#renewed.set(id, answers[i] === 2 ? Infinity : asked)
    }
  }

  end(): void {
    clearInterval(this.#timer)
  }
}
