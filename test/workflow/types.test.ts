// A wrong call is a compile error: each `@ts-expect-error` below fails `tsc` when its line is accepted.

import t from 'tap'
import { z } from 'zod'
import { defineAction, defineApp, defineWorkflow, implement, implementDatabase } from '../../index.ts'
import { runWorkflow } from '../../testing/index.ts'
import type { Clashes } from '../../workflow/workflow.ts'

const chargeCard = defineAction({
  name: 'charge_card',
  parameters: z.object({ amount: z.number(), currency: z.string().default('EUR') }),
  result: z.object({ receipt: z.string() }),
})
const move = defineAction({ name: 'move', parameters: z.object({}), result: z.number(), guarantee: 'exactly-once' })

const typed = defineWorkflow(
  { name: 'typed', version: '1', input: z.object({ amount: z.number() }), actions: { chargeCard, move } },
  async ({ input, actions, events, now, random }) => {
    const amount: number = input.amount
    // @ts-expect-error -- the input has no such field
    const missing: unknown = input.nothing
    const { receipt } = await actions.chargeCard({ amount })
    const again = await actions.charge_card({ amount, currency: 'USD' }, { key: 'k' })
    const text: string = again.receipt
    // @ts-expect-error -- a result's field has its type
    const number: number = again.receipt
    const wrong = () => [
      // @ts-expect-error -- a parameter of the wrong type
      actions.chargeCard({ amount: '1' }),
      // @ts-expect-error -- a parameter is missing
      actions.chargeCard({}),
      // @ts-expect-error -- there is no such action
      actions.refund({}),
      // @ts-expect-error -- there is no such option
      actions.chargeCard({ amount }, { retries: 3 }),
    ]
    const sure = await events.waitFor('a')
    const name: string = sure.name
    const maybe = await events.waitFor(['b'], { timeout: '1 s' })
    // @ts-expect-error -- with a timeout nothing may come
    const unsafe = () => maybe.name
    const time: number = now() + random()
    return { receipt, text, missing, number, wrong: typeof wrong, unsafe: typeof unsafe, name, maybe, isTime: time > 0 }
  },
)

implement(chargeCard, async ({ parameters }) => {
  const currency: string = parameters.currency
  return { receipt: currency }
})
// @ts-expect-error -- the result is not the contract's
implement(chargeCard, async () => ({ receipt: 1 }))
implementDatabase(move, async ({ sql }) => (await sql.query('SELECT 1')).length)

const named = <const N extends string>(name: N) => defineAction({ name, parameters: z.object({}), result: z.string() })
const stock = named('stock')
const asTwo = { reserveStock: stock, reserve_stock: named('other') }
const asContract = { pay: stock, stock: named('other') }
const asContracts = { a: named('take_stock'), b: named('takeStock') }
const why = 'would be called by one name, as it stands, in camelCase or snake_case, or of the contract: rename one of them in actions'
const said: [Clashes<typeof asTwo>['reserve_stock'], Clashes<typeof asContract>['pay'], Clashes<typeof asContracts>['b']] = [
  `actions.reserve_stock and actions.reserveStock ${why}`,
  `actions.pay and actions.stock ${why}`,
  `actions.b and actions.a ${why}`,
]

/** Never called: an author's program with these does not compile. */
const clashes = () => {
  const about = { name: 'clash', version: '1' }
  const none = async () => null
  // @ts-expect-error -- one is the other in snake_case
  defineWorkflow({ ...about, actions: asTwo }, none)
  // @ts-expect-error -- likewise where they are written on the spot
  defineWorkflow({ ...about, actions: { reserveStock: stock, reserve_stock: move } }, none)
  // @ts-expect-error -- one is called as the contract of the other
  defineWorkflow({ ...about, actions: asContract }, none)
  // @ts-expect-error -- so are two contracts
  defineWorkflow({ ...about, actions: asContracts }, none)
  // No clashes: an action under two names, two policies for one contract, and names that differ by more than their case.
  const slow = defineAction({ name: 'stock', parameters: z.object({ slowly: z.boolean() }), result: z.number() })
  const fits = { reserveStock: stock, reserve_stock: stock, slow, a_1: move, a1: named('a1') }
  return defineWorkflow({ ...about, actions: fits }, async ({ actions }) => {
    const text: string = await actions.reserve_stock({})
    const digit: number = await actions.a_1({})
    return [text, digit, await actions.a1({})]
  })
}

t.test('what the types say is what comes', async (t) => {
  const run = await runWorkflow(typed, {
    input: { amount: 1 },
    actions: { charge_card: ({ parameters }) => ({ receipt: JSON.stringify(parameters) }) },
    events: [{ name: 'a' }],
  })
  t.match(run.state.result, {
    receipt: '{"amount":1,"currency":"EUR"}',
    text: '{"amount":1,"currency":"USD"}',
    name: 'a',
    maybe: null,
    isTime: true,
  })
})

t.test('a fake gets the parameters of its contract', async (t) => {
  const taken = new Set<string>()
  const actions = {
    // A fake made beforehand, as wide as anything.
    move: ({ parameters }: { parameters: unknown; attempt: number }) => JSON.stringify(parameters).length,
  }
  const run = await runWorkflow(typed, {
    input: { amount: 1 },
    actions: {
      ...actions,
      charge_card({ parameters }) {
        const amount: number = parameters.amount
        taken.add(parameters.currency)
        // @ts-expect-error -- the contract has no such parameter
        const nothing: unknown = parameters.nothing
        return { receipt: `${amount}${String(nothing)}` }
      },
    },
    events: [{ name: 'a' }, { name: 'b' }],
  })
  t.equal(run.state.status, 'completed')
  t.strictSame([...taken], ['EUR', 'USD'])
  // @ts-expect-error -- there is no contract of this name
  const wrong = () => runWorkflow(typed, { actions: { charge_cart: () => 1 } })
  t.type(wrong, 'function')
})

t.test('a guarantee and what runs it must fit', async (t) => {
  t.throws(() => implement(move, async () => 1), /use implementDatabase/)
  t.throws(() => implementDatabase(chargeCard, async () => ({ receipt: '' })), /use implement/)
})

t.test('an application has no other members than it names', async (t) => {
  t.strictSame(defineApp({ workflows: [typed] }).workflows, [typed])
  // @ts-expect-error -- misspelt
  t.throws(() => defineApp({ projectons: [] }), /an application has no projectons; it has workflows, implementations, projections/)
})

t.test('a name that would call two actions is refused; one that is shared by two policies is not', async (t) => {
  const make = (actions: Record<string, ReturnType<typeof named<string>>>) => () =>
    defineWorkflow({ name: 'w', version: '1', actions }, async ({ actions: { charge } }) => charge?.({}))
  const a = named('charge_card')
  t.throws(
    make({ chargeCard: a, charge_card: named('b') }),
    /^workflow w: actions\.charge_card would call chargeCard \(contract charge_card\) as well as charge_card \(contract b\): rename one/,
  )
  t.throws(make({ charge: a, other: named('charge') }), /actions\.charge would call charge .* as well as other/, 'the name of a contract')
  t.throws(make({ other: named('charge'), charge: a }), /actions\.charge would call charge .* as well as other/, 'in any order')
  t.throws(make({ payCard: a, pay_card: named('charge_card') }), /actions\.pay_card/, 'though their contracts have one name')
  t.doesNotThrow(make({ chargeCard: a, charge_card: a }), 'the same action twice')
  const first = { ...named('charge'), timeout_ms: 5 }
  const both = make({ slow: first, charge: named('charge') })()
  const { history } = await runWorkflow(both, { actions: { charge: () => 'done' } })
  t.match(history[1]?.event.payload, /"timeout_ms":30000/, 'its own name comes before that of another’s contract')
  t.throws(make(asTwo), /actions\.reserve_stock/, 'and what the types refuse is refused here')
  t.throws(make(asContract), /actions\.stock/)
  t.throws(make(asContracts), /actions\.take/)
  t.strictSame([said.length, typeof clashes], [3, 'function'])
})
