// An application: the workflows a deployment drives, and the actions its workers run. One module exports it as default.

import type { z } from 'zod'
import type { Action, ActionContext, ActionSql } from './action.ts'
import type { Workflow } from './workflow.ts'

/** An action with what runs it. */
export type Implementation = { readonly action: Action; run(context: ActionContext): Promise<unknown> }

/** A projection as projections/define.ts makes it; what is in it is the projector's. */
export type AnyProjection = { readonly kind: 'projection'; readonly name: string; readonly version: number }

export type App = {
  readonly workflows: readonly Workflow[]
  readonly implementations: readonly Implementation[]
  readonly projections: readonly AnyProjection[]
}

/** Joins a contract to the code that workers run for it. Throws TypeError for an exactly-once action: see implementDatabase. */
export function implement<P extends z.ZodType, R extends z.ZodType>(
  action: Action<P, R>,
  run: (context: ActionContext<z.output<P>>) => Promise<z.input<R>>,
): Implementation {
  if (action.guarantee === 'exactly-once') throw new TypeError(`action ${action.name} is exactly-once: use implementDatabase`)
  // The worker parses the parameters by this very contract before it calls.
  return { action, run: (context) => run(context as ActionContext<z.output<P>>) }
}

export type DatabaseContext<P = unknown> = ActionContext<P> & { readonly sql: ActionSql }

/**
 * Joins an exactly-once contract to code whose whole effect is in `context.sql`, a transaction of Refold's own database:
 * the outcome is written in it too. Throws TypeError for a contract of another guarantee.
 */
export function implementDatabase<P extends z.ZodType, R extends z.ZodType>(
  action: Action<P, R>,
  run: (context: DatabaseContext<z.output<P>>) => Promise<z.input<R>>,
): Implementation {
  if (action.guarantee !== 'exactly-once') throw new TypeError(`action ${action.name} is ${action.guarantee}: use implement`)
  // The worker opens the transaction before it calls.
  return { action, run: (context) => run(context as DatabaseContext<z.output<P>>) }
}

function refuseTwice(kind: string, names: readonly string[]): void {
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined) throw new TypeError(`${kind} ${twice} is in the application twice`)
}

const MEMBERS: ReadonlySet<string> = new Set(['workflows', 'implementations', 'projections'] satisfies (keyof App)[])

/** Throws TypeError where a workflow's version or an action's implementation is there twice, and for a member that no application has. */
export function defineApp(app: Partial<App>): App {
  for (const name of Object.keys(app))
    if (!MEMBERS.has(name)) throw new TypeError(`an application has no ${name}; it has ${[...MEMBERS].join(', ')}`)
  const { workflows = [], implementations = [], projections = [] } = app
  refuseTwice(
    'workflow',
    workflows.map(({ name, version }) => `${name} version ${version}`),
  )
  refuseTwice(
    'implementation of',
    implementations.map(({ action }) => action.name),
  )
  refuseTwice(
    'projection',
    projections.map(({ name }) => name),
  )
  return Object.freeze({ workflows, implementations, projections })
}
