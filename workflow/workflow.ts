// A workflow: one async function, replayed on its events. What it may use is its context; nothing else can be awaited.

import type { z } from 'zod'
import { asError } from '../errors.ts'
import { type Action, checkName, type LineLog } from './action.ts'
import type { Duration } from './duration.ts'

export type Actions = Readonly<Record<string, Action>>

type Snake<S extends string> = S extends `${infer First}${infer Rest}`
  ? `${First extends Lowercase<First> ? First : `_${Lowercase<First>}`}${Snake<Rest>}`
  : S
type Camel<S extends string> = S extends `${infer Head}_${infer Tail}`
  ? Tail extends Capitalize<Tail>
    ? `${Head}_${Camel<Tail>}`
    : `${Head}${Camel<Capitalize<Tail>>}`
  : S
type Spelling<S extends string> = S | Snake<S> | Camel<S>

export type CallOptions = {
  /** Idempotency key handed to the target; without it, the action's id. */
  key?: string
}

/** A value as JSON gives it back: a Date is text by then, and nothing is null where it cannot be left out. */
type Logged<T> = unknown extends T
  ? T
  : T extends string | number | boolean | null
    ? T
    : T extends undefined
      ? null
      : T extends { toJSON(...of: never[]): infer J }
        ? Logged<J>
        : T extends readonly unknown[]
          ? { [K in keyof T]: Logged<T[K]> }
          : T extends ReadonlyMap<unknown, unknown> | ReadonlySet<unknown>
            ? Record<string, never>
            : T extends object
              ? { [K in keyof T]: LoggedMember<T[K]> }
              : T
type LoggedMember<T> = unknown extends T ? T : T extends undefined ? undefined : Logged<T>

type Call<A> = A extends Action<infer P, infer R> ? (parameters: z.input<P>, options?: CallOptions) => Promise<Logged<z.output<R>>> : never

/** Each action by its name in `actions`, and by that name in camelCase and snake_case. */
export type ActionCalls<A extends Actions> = { readonly [K in keyof A as Spelling<K & string>]: Call<A[K]> }

type ContractSpelling<N extends string> = string extends N ? never : Spelling<N>
type ByKey<A extends Actions> = { [K in keyof A & string as Spelling<K>]: K }
type ByContract<A extends Actions> = { [K in keyof A & string as ContractSpelling<A[K]['name']>]: K }
type At<M, Name> = Name extends keyof M ? M[Name] : never

type OtherAction<A extends Actions, K extends keyof A, O> = O extends keyof A ? ([A[O], A[K]] extends [A[K], A[O]] ? never : O) : never
type OtherContract<A extends Actions, K extends keyof A, O> = O extends keyof A
  ? string extends A[O]['name']
    ? never
    : A[O]['name'] extends A[K]['name']
      ? never
      : O
  : never

/** Keys of the other actions that a name of action `K` would call. */
type Rival<A extends Actions, K extends keyof A & string> =
  | OtherAction<A, K, At<ByKey<A>, Spelling<K>>>
  | OtherContract<A, K, At<ByKey<A>, ContractSpelling<A[K]['name']>>>
  | OtherContract<A, K, At<ByContract<A>, Spelling<K> | ContractSpelling<A[K]['name']>>>

/**
 * What stands in the way of `actions`: for each that shares a name with another, why, as a type that no action has. What callNames
 * refuses, as far as types tell: two actions of one type may be one, and a name known as `string` may be any.
 */
export type Clashes<A extends Actions> = string extends keyof A
  ? unknown
  : {
      [
        K in keyof A & string as [Rival<A, K>] extends [never] ? never : K
      ]: `actions.${K} and actions.${Rival<A, K> & string} would be called by one name, as it stands, in camelCase or snake_case, or of the contract: rename one of them in actions`
    }

/** An event as a workflow sees it. */
export type ReceivedEvent = {
  readonly id: string
  readonly name: string
  readonly type: string
  /** Parsed JSON; null without a payload. */
  readonly payload: unknown
  readonly userId: string | null
  /** Milliseconds since 1970 UTC. */
  readonly createdAt: number
}

export type WorkflowEvents = {
  /**
   * The next event of one of these names that no other wait took, also one that came before this call. With a timeout:
   * null when it passes first.
   */
  waitFor(names: string | readonly string[]): Promise<ReceivedEvent>
  waitFor(names: string | readonly string[], options: { timeout: Duration }): Promise<ReceivedEvent | null>
  /** Appends an event to this execution; it is read as an input too. */
  emit(name: string, payload?: unknown): void
}

export type WorkflowContext<I = unknown, A extends Actions = Actions> = {
  readonly executionId: string
  readonly tenant: string
  readonly userId: string | null
  readonly input: I
  readonly actions: ActionCalls<A>
  readonly data: { get(name: string): unknown; set(name: string, value: unknown): void }
  readonly events: WorkflowEvents
  getCurrentState(): string
  setState(state: string): void
  /** Silent in replay. */
  readonly logger: LineLog
  sleep(duration: Duration): Promise<void>
  /** Milliseconds since 1970 UTC: the append time of the newest input. */
  now(): number
  /** The same at each replay. */
  uuid(): string
  /** In [0, 1), the same at each replay. */
  random(): number
  /** Aborted by cancel. */
  readonly signal: AbortSignal
}

/** `A` are its actions, for who tests it. */
export type Workflow<A extends Actions = Actions> = {
  readonly kind: 'workflow'
  readonly name: string
  /** Pinned by workflow.started: an execution is driven by this version to its end. */
  readonly version: string
  readonly input: z.ZodType | undefined
  readonly actions: A
  run(context: WorkflowContext): Promise<unknown>
}

export type WorkflowOptions<I extends z.ZodType, A extends Actions> = { name: string; version: string; input?: I; actions?: A }

const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
const camel = (name: string) => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
const spellings = (name: string) => [...new Set([name, snake(name), camel(name)])]

/**
 * What each action is called by: its name in `actions`, then the name in its contract, both also in camelCase and snake_case. Throws
 * TypeError where one name would call two; a contract's name may be shared, by two policies for one thing: it calls the first.
 */
export function callNames(actions: Actions): ReadonlyMap<string, Action> {
  const known = new Map<string, { action: Action; as: string }>()
  const add = (as: string, of: 'key' | 'contract') => {
    const action = actions[as]
    if (!action) return
    for (const name of spellings(of === 'key' ? as : action.name)) {
      const other = known.get(name)
      if (!other) known.set(name, { action, as })
      else if (other.action !== action && (of === 'key' || other.action.name !== action.name))
        throw new TypeError(
          `actions.${name} would call ${other.as} (contract ${other.action.name}) as well as ${as} (contract ${action.name}): rename one of them in actions`,
        )
    }
  }
  for (const as of Object.keys(actions)) add(as, 'key')
  for (const as of Object.keys(actions)) add(as, 'contract')
  return new Map([...known].map(([name, { action }]) => [name, action]))
}

/** Throws TypeError for a name or version that is none, and for two actions that one name would call, where the types don't tell. */
export function defineWorkflow<I extends z.ZodType, A extends Actions>(
  { name, version, input, actions }: WorkflowOptions<I, A> & { actions?: Clashes<A> },
  run: (context: WorkflowContext<z.output<I>, A>) => Promise<unknown>,
): Workflow<A> {
  checkName('workflow', name)
  if (version === '' || version.length > 128) throw new TypeError(`workflow ${name}: its version has 1 to 128 characters`)
  try {
    callNames(actions ?? {})
  } catch (error) {
    throw new TypeError(`workflow ${name}: ${asError(error).message}`, { cause: error })
  }
  // Replay makes the context from this very input schema and these actions; without any, A is as wide as no action at all.
  return { kind: 'workflow', name, version, input, actions: actions ?? ({} as A), run: (context) => run(context as never) }
}
