// Every setting: default, unit, environment name and trade-off. Parsed once by main.ts or cli/, frozen, passed down.
// docs/settings.md is generated from SETTINGS.

import { z } from 'zod'
import { RefoldError } from './errors.ts'

type Setting<T> = { env: string; parse: z.ZodType<T, string | undefined>; unit: string; about: string; secret?: true }

const text = (fallback: string) => z.string().default(fallback)
const whole = (fallback: number, min: number, max: number) => z.coerce.number<string>().int().min(min).max(max).default(fallback)
const flag = (fallback: boolean) =>
  z
    .enum(['true', 'false'])
    .default(fallback ? 'true' : 'false')
    .transform((word) => word === 'true')

/** Of another server; the values of secret ones are not shown. */
const address = (protocol: RegExp, example: string) =>
  z
    .string()
    .refine((given) => URL.canParse(given) && protocol.test(new URL(given).protocol), { error: `is not like ${example}` })
    .optional()
const brokers = z
  .string()
  .refine((given) => given.split(',').every((one) => /^(\[[\da-f:]+\]|[^\s:,]+):\d{1,5}$/i.test(one.trim())), {
    error: 'is not host:port, or several with commas between',
  })
  .optional()

const setting = <T>(env: string, parse: z.ZodType<T, string | undefined>, unit: string, about: string, secret?: true): Setting<T> =>
  secret ? { env, parse, unit, about, secret } : { env, parse, unit, about }

export const SETTINGS = {
  kafkaBrokers: setting('KAFKA_BROKERS', brokers, 'host:port,…', 'Kafka to use; without it, the local stack.'),
  registryUrl: setting(
    'SCHEMA_REGISTRY_URL',
    address(/^https?:$/, 'http://host:port/path'),
    'URL',
    'Confluent-compatible registry, with its path (Apicurio: /apis/ccompat/v7).',
  ),
  databaseUrl: setting(
    'DATABASE_URL',
    address(/^postgres(ql)?:$/, 'postgres://user:password@host:port/database'),
    'URL',
    'Postgres to use; without it, the local stack.',
    true,
  ),
  redisUrl: setting('REDIS_URL', address(/^rediss?:$/, 'redis://host:port'), 'URL', 'Redis to use; without it, the local stack.', true),
  apiTokens: setting(
    'REFOLD_API_TOKENS',
    z.string().optional(),
    'token=tenant,…',
    "API tokens and the tenant each stands for; without it, the local stack's development token.",
    true,
  ),
  operatorTokens: setting(
    'REFOLD_OPERATOR_TOKENS',
    z.string().optional(),
    'token,…',
    "Which of the API tokens are operators': they also see records that belong to no tenant. Without REFOLD_API_TOKENS, the development token is one.",
    true,
  ),
  jwksUrl: setting(
    'REFOLD_JWKS_URL',
    z.url({ protocol: /^https?$/, error: 'is not an http or https URL' }).optional(),
    'URL',
    'Where the keys of the issuer of JSON Web Tokens are published (JWKS). With it, such tokens are taken beside API tokens, and the development token is not.',
  ),
  jwtIssuer: setting('REFOLD_JWT_ISSUER', z.string().optional(), 'text', 'The `iss` that a token must carry; needed with REFOLD_JWKS_URL.'),
  jwtAudience: setting(
    'REFOLD_JWT_AUDIENCE',
    z.string().optional(),
    'text',
    'The `aud` that a token must carry, so that tokens made for others are refused; needed with REFOLD_JWKS_URL.',
  ),
  jwtTenantClaim: setting('REFOLD_JWT_TENANT_CLAIM', text('tenant'), 'claim', 'The claim of a token that names its tenant.'),
  jwtOperatorClaim: setting(
    'REFOLD_JWT_OPERATOR_CLAIM',
    z.string().optional(),
    'claim|claim=word',
    "Makes a token an operator's: the claim is true, or is that word or a list that has it (`roles=refold-operator`). Without it, no JWT is.",
  ),
  topicPrefix: setting(
    'REFOLD_TOPIC_PREFIX',
    text('refold'),
    'name',
    'First part of all topic and group names; two installations on one Kafka need two.',
  ),
  partitions: setting(
    'REFOLD_PARTITIONS',
    whole(12, 1, 1000),
    'partitions',
    'Of the events topic, pinned when it is made. More allow more readers; each costs a checkpoint row and memory.',
  ),
  replication: setting('REFOLD_REPLICATION', whole(1, 1, 9), 'replicas', 'Of each topic; 3 with min.insync.replicas 2 survives a broker.'),
  createTopics: setting(
    'REFOLD_CREATE_TOPICS',
    flag(true),
    'true|false',
    'Make missing topics at start-up; false where an administrator makes them.',
  ),
  host: setting('REFOLD_HOST', text('127.0.0.1'), 'address', 'Address the API listens on.'),
  port: setting('REFOLD_PORT', whole(8080, 0, 65535), 'port', 'Port of the API; 0 takes a free one.'),
  healthPort: setting(
    'REFOLD_HEALTH_PORT',
    whole(0, 0, 65535),
    'port',
    'Where /livez, /readyz and /metrics are served too, without a token, from the first moment on: for processes without the API. 0: nowhere.',
  ),
  databaseConnections: setting(
    'REFOLD_DATABASE_CONNECTIONS',
    whole(8, 1, 200),
    'connections',
    "Of one role's pool. More help only while Postgres has idle cores.",
  ),
  recorderBatch: setting(
    'REFOLD_RECORDER_BATCH',
    whole(5000, 1, 100_000),
    'records',
    'Most records in one recorder transaction. Larger is faster in catch-up and holds more memory.',
  ),
  recorderPace: setting(
    'REFOLD_RECORDER_PACE',
    whole(4, 0, 1000),
    'ms',
    'A small batch of a single record takes at least three times so long, one of a dozen once or as long as its work, so that the next has more of them; where executions are written again and again whose records do not wait for it, up to a quarter of the time that only they have been, at most twelve times that and half a second. 0: no delay.',
  ),
  fetchWait: setting(
    'REFOLD_FETCH_WAIT',
    whole(200, 10, 5000),
    'ms',
    'How long a fetch waits for data. Delivery does not wait for it; seeks and shutdown do.',
  ),
  groupSession: setting(
    'REFOLD_GROUP_SESSION',
    whole(10_000, 1000, 300_000),
    'ms',
    'Session timeout of consumer groups: how soon the partitions of a dead process are taken over.',
  ),
  groupHeartbeat: setting(
    'REFOLD_GROUP_HEARTBEAT',
    whole(1000, 100, 60_000),
    'ms',
    'Heartbeat of consumer groups; below a third of the session.',
  ),
  stuckAfter: setting(
    'REFOLD_STUCK_AFTER',
    whole(15_000, 1000, 600_000),
    'ms',
    'With lag and no progress for so long, a reader builds its client anew and readiness turns red.',
  ),
  deployment: setting(
    'REFOLD_DEPLOYMENT',
    z
      .string()
      .regex(/^[A-Za-z0-9._-]{1,64}$/, 'has letters, digits, . _ - only, at most 64')
      .default('default'),
    'name',
    'Of the runtimes that share one application. Two versions of it side by side need two names; each has its own checkpoint.',
  ),
  rememberedExecutions: setting(
    'REFOLD_REMEMBERED_EXECUTIONS',
    whole(10_000, 100, 10_000_000),
    'executions',
    'Running executions that a runtime keeps in memory, over all partitions; others are read back from Postgres when something comes for them.',
  ),
  workerConcurrency: setting(
    'REFOLD_WORKER_CONCURRENCY',
    whole(100, 1, 10_000),
    'attempts',
    'Attempts of actions that one worker process runs at once; of database actions at most 32.',
  ),
  workerQueues: setting(
    'REFOLD_WORKER_QUEUES',
    z.string().optional(),
    'queue,…',
    'Queues this worker reads; without it, those of the actions its application implements. `-` is the queue without a name.',
  ),
  workerDrain: setting(
    'REFOLD_WORKER_DRAIN',
    whole(8000, 0, 600_000),
    'ms',
    'How long a worker that is told to stop lets attempts end; then it aborts them and others take them over.',
  ),
  sweepAfter: setting(
    'REFOLD_SWEEP_AFTER',
    whole(302_400_000, 1000, 604_800_000),
    'ms',
    'A request of an action without an outcome for so long is made again: half of what the actions topics keep.',
  ),
  eagerSlots: setting(
    'REFOLD_EAGER_SLOTS',
    whole(1, 0, 1000),
    'attempts',
    'Attempts that a runtime hands straight to a worker in its own process, past the actions topic, besides those that this process would read there itself. 0: none at all.',
  ),
  decideAhead: setting(
    'REFOLD_DECIDE_AHEAD',
    flag(true),
    'true|false',
    'Append what follows from an action together with its outcome, where runtime and worker are one process: a step is one append. false while a reader of the log is older than that.',
  ),
  projectorBatch: setting(
    'REFOLD_PROJECTOR_BATCH',
    whole(10_000, 1, 100_000),
    'records',
    'Most records in one transaction of a projection. Larger is faster in a rebuild and holds more memory.',
  ),
  projectorConnections: setting(
    'REFOLD_PROJECTOR_CONNECTIONS',
    whole(4, 1, 100),
    'connections',
    "Of the projector's own pool: what a rebuild may take of Postgres.",
  ),
  projectorRows: setting(
    'REFOLD_PROJECTOR_ROWS',
    whole(300_000, 0, 50_000_000),
    'rows',
    'Rows of one generation kept in memory, so that they need not be read back for each batch.',
  ),
  notificationStream: setting(
    'REFOLD_NOTIFICATION_STREAM',
    z.string().optional(),
    'key',
    'Redis stream of notifications; without it workflow:events:global, with the topic prefix before it where that is not refold.',
  ),
  notificationLength: setting(
    'REFOLD_NOTIFICATION_LENGTH',
    whole(10_000, 1, 10_000_000),
    'entries',
    'Kept in the stream, about. A reader further behind catches up over REST.',
  ),
  resultsKept: setting(
    'REFOLD_RESULTS_KEPT',
    whole(86_400_000, 1000, 2_592_000_000),
    'ms',
    'How long Redis keeps the result of an action under its idempotency key.',
  ),
  faults: setting(
    'REFOLD_FAULTS',
    z.string().optional(),
    '<point>=kill|throw|wait<ms>|wait<ms>-<ms>@<n>|every,…',
    'For tests: makes the process fail at named places (faults.ts).',
  ),
  faultSeed: setting(
    'REFOLD_FAULT_SEED',
    whole(0, 0, 4_294_967_295),
    'number',
    'For tests: chooses among the waits that REFOLD_FAULTS allows.',
  ),
  faultLog: setting('REFOLD_FAULT_LOG', z.string().optional(), 'file', 'For tests: where each fault that acted is noted.'),
  stateCacheSize: setting(
    'REFOLD_STATE_CACHE',
    whole(10_000, 0, 10_000_000),
    'states',
    'Folded states kept in memory, in the recorder and for replay. 0 keeps none.',
  ),
  stateCacheTtl: setting(
    'REFOLD_STATE_CACHE_TTL',
    whole(60_000, 1, 86_400_000),
    'ms',
    'How long a replayed state is kept; it can not be stale, so this bounds memory only.',
  ),
  logLevel: setting(
    'REFOLD_LOG_LEVEL',
    z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info'),
    'level',
    'Lowest level of log line written.',
  ),
} as const

type Settings = typeof SETTINGS
export type Config = { readonly [K in keyof Settings]: Settings[K] extends Setting<infer T> ? T : never }

/** Reads all settings from `env`; the error names each bad one. An empty value counts as unset. */
export function readConfig(env: Readonly<Record<string, string | undefined>>, overrides: Partial<Config> = {}): Config {
  const faults: string[] = []
  const values: Record<string, unknown> = {}
  for (const [key, { env: name, parse, secret }] of Object.entries<Setting<unknown>>(SETTINGS)) {
    const given = env[name] === '' ? undefined : env[name]
    const result = parse.safeParse(given)
    if (result.success) values[key] = result.data
    else faults.push(`${name}${secret ? '' : `=${given}`}: ${result.error.issues.map((issue) => issue.message).join(', ')}`)
  }
  const config = { ...values, ...overrides } as Config
  if (faults.length === 0 && config.groupHeartbeat * 3 > config.groupSession)
    faults.push('REFOLD_GROUP_HEARTBEAT must be at most a third of REFOLD_GROUP_SESSION')
  if (faults.length === 0 && config.jwksUrl !== undefined && (config.jwtIssuer === undefined || config.jwtAudience === undefined))
    faults.push('REFOLD_JWKS_URL needs REFOLD_JWT_ISSUER and REFOLD_JWT_AUDIENCE')
  if (faults.length > 0) throw new RefoldError('config-invalid', faults.join('; '))
  return Object.freeze(config)
}
