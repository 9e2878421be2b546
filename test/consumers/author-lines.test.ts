// What a workflow writes to context.logger: told once, when the log has what it was written for, and never again in a replay.

import t from 'tap'
import { Driven } from '../../consumers/driven.ts'
import type { LineLog } from '../../workflow/action.ts'
import { contentOf } from '../../workflow/content.ts'
import { createReplay } from '../../workflow/replay.ts'
import { defineWorkflow } from '../../workflow/workflow.ts'
import { classify } from '../../workflow/events.ts'
import { runWorkflow } from '../../testing/index.ts'
import { next, openExecution, type Step } from '../support/one-execution.ts'

const told: Step = async ({ actions, logger }) => {
  logger.info({ at: 0 }, 'begun')
  const first = await actions.next({ after: 0 })
  logger.warn({ at: first }, 'first')
  const second = await actions.next({ after: first })
  logger.debug({ at: second }, 'second')
  return second
}

function written() {
  const lines: string[] = []
  const line = (level: string) => (facts: object, message: string) =>
    void lines.push(`${level} ${message} ${'at' in facts ? String(facts.at) : ''}`)
  const logger: LineLog = { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') }
  return { lines, logger }
}

t.test('a replay is silent, and what comes after it is not', async (t) => {
  const workflow = defineWorkflow({ name: 'flow', version: '1', actions: { next } }, told)
  const { history } = await runWorkflow(workflow, { actions: { next: ({ parameters }) => parameters.after + 1 } })
  const [tenant, executionId] = [history[0]?.event.tenant ?? '', history[0]?.event.execution_id ?? '']
  const all = ['info begun 0', 'warn first 1', 'debug second 2']
  for (let known = 0; known <= history.length; known++) {
    const { lines, logger } = written()
    let replaying = true
    const replay = createReplay({ workflow, tenant, executionId, logger, replaying: () => replaying })
    for (const fed of history.slice(0, known)) await replay.feed(fed)
    t.strictSame(lines, [], `of ${known} events`)
    replaying = false
    for (const fed of history.slice(known)) await replay.feed(fed)
    const inputs = history.slice(0, known).filter(({ event }) => event.decision === 0).length
    t.strictSame(lines, all.slice(inputs), 'each of the rest once')

    const later = written()
    const driven = new Driven({ tenant, executionId, partition: 0, find: () => workflow, logger: later.logger })
    await driven.recall(history.slice(0, known).map((fed) => ({ ...fed, content: contentOf(fed.event) })))
    t.strictSame(later.lines, [], `recalled, ${known} events`)
    for (const { event, appendedAt } of history.slice(known)) {
      const classified = classify(event)
      if ('event' in classified) await driven.take(classified, appendedAt)
    }
    t.strictSame(later.lines, all.slice(inputs), 'and the rest as it is read')
  }
})

t.test('each line is told once by runtimes that follow each other', async (t) => {
  const { lines, logger } = written()
  const one = await openExecution(t, told, { logger })
  const first = await one.requestOf(1)
  await one.passed()
  await one.restart()
  await one.tell(first, 1)
  const second = await one.requestOf(2)
  await one.passed()
  await one.restart()
  await one.restart()
  await one.tell(second, 2)
  await one.over()
  await one.passed()
  await one.restart()
  t.strictSame(lines, ['info begun 0', 'warn first 1', 'debug second 2'])
})

t.test('what came while it was parked is told of once code that fits goes on, and not by code that does not', async (t) => {
  const { lines, logger } = written()
  const one = await openExecution(t, told, { logger })
  const first = await one.requestOf(1)
  await one.passed()
  const misfit: Step = async ({ actions, logger: own }) => {
    own.error({}, 'misfit')
    return actions.next({ after: 99 })
  }
  await one.restart(misfit)
  await one.tell(first, 1)
  const isParked = async () => one.until(() => (one.parked() === 1 ? true : undefined), 'its incident')
  await isParked()
  await one.restart(misfit)
  t.equal(one.saved.next, await one.end(), 'its outcome is below the checkpoint')
  t.strictSame(lines, ['info begun 0'])
  await one.restart(told)
  const second = await one.requestOf(2)
  await one.passed()
  await one.restart()
  await one.tell(second, 2)
  await one.over()
  t.strictSame(lines, ['info begun 0', 'warn first 1', 'debug second 2'])
})

t.test('what was started before anybody registered it is told of from its begin', async (t) => {
  const { lines, logger } = written()
  const one = await openExecution(t, told, { logger, isKnown: false })
  await one.until(() => (one.parked() === 1 ? true : undefined), 'its incident')
  await one.restart(told)
  await one.requestOf(1)
  t.strictSame(lines, ['info begun 0'])
})

t.test('what was decided ahead and does not stand told nothing', async (t) => {
  const { lines, logger } = written()
  const one = await openExecution(t, told, { logger })
  const first = await one.requestOf(1)
  one.meanwhile(() => void one.others.append(one.ended(first, { result: '100' })))
  await one.tell(first, 1)
  await one.tell(await one.requestOf(2), 2)
  await one.over()
  t.equal(one.happened.inVain, 1)
  t.strictSame(lines, ['info begun 0', 'warn first 100', 'debug second 2'])
})
