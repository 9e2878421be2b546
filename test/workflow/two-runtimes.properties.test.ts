// Two runtimes, lagging reads, repeated records, lost memories, a worker that dies: random programs end as they must. And the
// check is checked: with a rule taken out, it fails.

import t from 'tap'
import { type Mutant, runTwoRuntimes } from '../../testing/two-runtimes.ts'
import { defineAction } from '../../workflow/action.ts'
import { defineWorkflow } from '../../workflow/workflow.ts'
import { endingFault } from '../support/random-ending.ts'
import { doOther, doWork, eventsOf, programOf, type Step, work, workflowOf } from '../support/random-workflow.ts'

const SEEDS = 5000
const actions = { work: doWork, exact: doOther, once: doOther }

async function run(seed: number, mutant?: Mutant) {
  const program = programOf(seed)
  const events = eventsOf(program).map((event) => ({ name: event, payload: event }))
  const two = await runTwoRuntimes(workflowOf(program), { actions, events, seed, ...(mutant ? { mutant } : {}) })
  const ending = endingFault(program, two.state)
  return { ...two, ending, isRight: ending === undefined && two.faults.length === 0 && two.divergences.length === 0 }
}

t.test(`${SEEDS} random programs under two runtimes end as they must`, { timeout: 300_000 }, async (t) => {
  const wrong: object[] = []
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { isRight, ending, faults, divergences } = await run(seed)
    if (!isRight) wrong.push({ seed, ending, faults, divergences })
  }
  t.strictSame(wrong.slice(0, 3), [])
})

t.test('what a program leaves in data and state is looked at, and not its result alone', async (t) => {
  const program: Step = {
    kind: 'sequence',
    steps: [
      { kind: 'set', name: 'd0', value: 1 },
      { kind: 'state', to: 's2' },
    ],
  }
  const { state } = await runTwoRuntimes(workflowOf(program), { actions, events: [], seed: 1 })
  t.equal(endingFault(program, state), undefined)
  t.match(endingFault(program, { ...state, data: { ...state.data, d0: 2 } }), /has data d0 2/)
  t.match(endingFault(program, { ...state, data: { ...state.data, d1: 2 } }), /has data d1 2/)
  t.match(endingFault(program, { ...state, currentState: 's3' }), /has state "s3"/)
})

t.test('two runtimes of different code never mix their decisions: the history is that of one', { timeout: 120_000 }, async (t) => {
  const mixed: number[] = []
  for (let seed = 1; seed <= 300; seed++) {
    const two = await different(seed)
    if (two.divergences.length > 1 || two.faults.length > 0) mixed.push(seed)
  }
  t.strictSame(mixed, [])
})

/** The second runtime runs the program of the next seed. */
const different = (seed: number, mutant?: Mutant) => {
  const [program, other] = [programOf(seed), programOf(seed + 100_000)]
  const events = [...eventsOf(program), ...eventsOf(other)].map((event) => ({ name: event, payload: event }))
  return runTwoRuntimes(workflowOf(program), { second: workflowOf(other), actions, events, seed, ...(mutant ? { mutant } : {}) })
}

t.test('without the read-back, an effect comes before the log asks for it: seen', async (t) => {
  let red = 0
  for (let seed = 1; seed <= 200; seed++) if (!(await run(seed, 'effects-before-read-back')).isRight) red++
  t.ok(red > 0, `${red} of 200`)
})

t.test('without the chain check, decisions of different code are mixed: seen', async (t) => {
  let red = 0
  for (let seed = 1; seed <= 200; seed++) if ((await different(seed, 'no-chain')).divergences.length > 1) red++
  t.ok(red > 0, `${red} of 200`)
})

t.test('with the offset before the outcome, an outcome is lost: seen', async (t) => {
  let red = 0
  for (let seed = 1; seed <= 200; seed++) if (!(await run(seed, 'offset-before-outcome')).isRight) red++
  t.ok(red > 0, `${red} of 200`)
})

/** Each run of the action gives another number, which the next one is called with. */
async function numbered(seed: number, mutant?: Mutant) {
  let runs = 0
  const workflow = defineWorkflow({ name: 'numbered', version: '1', actions: { work } }, async ({ actions }) => {
    let value = 0
    for (let step = 0; step < 5; step++) value = await actions.work({ value, fails: 0 })
    return value
  })
  return runTwoRuntimes(workflow, { actions: { work: () => ++runs }, seed, ...(mutant ? { mutant } : {}) })
}

const isFaulty = ({ divergences, faults }: Awaited<ReturnType<typeof numbered>>) => divergences.length > 0 || faults.length > 0

t.test('a request of an attempt that failed comes again when the next one is under way, and changes nothing', async (t) => {
  const { parameters, result } = work
  // At once: during a backoff most of the requests of the attempt before are worked off.
  const retried = defineAction({ name: 'work', parameters, result, retry: { attempts: 3, backoff: 0 } })
  const workflow = defineWorkflow({ name: 'retried', version: '1', actions: { retried } }, async ({ actions }) =>
    actions.retried({ value: 1, fails: 2 }),
  )
  let late = 0
  for (let seed = 1; seed <= 200; seed++) {
    let newest = 0
    const { state, faults, divergences } = await runTwoRuntimes(workflow, {
      actions: {
        work: (call) => {
          if (call.attempt < newest) late++
          newest = Math.max(newest, call.attempt)
          return doWork(call)
        },
      },
      seed,
    })
    t.match({ state, faults, divergences }, { state: { status: 'completed', result: 1 }, faults: [], divergences: [] }, `seed ${seed}`)
  }
  t.ok(late > 25, `${late} came late`)
})

t.test('what is decided ahead of an outcome stands only behind that one', async (t) => {
  for (let seed = 1; seed <= 300; seed++) t.equal(isFaulty(await numbered(seed)), false)
})

t.test('decided ahead without saying on what, another outcome than the accepted one is followed: seen', async (t) => {
  let red = 0
  for (let seed = 1; seed <= 300; seed++) if (isFaulty(await numbered(seed, 'no-condition'))) red++
  t.ok(red > 0, `${red} of 300`)
})
