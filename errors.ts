// The catalogue: every error a person can meet, with what to do about it. docs/errors.md is generated from it.

type Entry = {
  /** What is wrong, in one sentence without a full stop. */
  title: string
  /** What the reader of the message can do. */
  help: string
  /** True when the same call may succeed later without anybody changing anything. */
  retryable: boolean
}

export const CATALOGUE = {
  'config-invalid': {
    title: 'A setting is not valid',
    help: 'Correct what the detail names; docs/settings.md lists all environment variables.',
    retryable: false,
  },
  'part-missing': {
    title: 'Something this machine needs is missing',
    help: 'Install what the detail names, with the command it gives.',
    retryable: false,
  },
  'stack-not-running': {
    title: 'No servers are known here',
    help: 'Start them with `npm run refold -- stack up`, or give KAFKA_BROKERS, SCHEMA_REGISTRY_URL, DATABASE_URL and REDIS_URL.',
    retryable: false,
  },
  'stack-failed': {
    title: 'A server of the local stack did not start',
    help: 'Read its log with `npm run refold -- stack logs <server>`.',
    retryable: true,
  },
  'stack-unwritable': {
    title: 'The files of the local stack cannot be written',
    help: 'Make room, or make the folder yours to write; REFOLD_STACK names another one.',
    retryable: true,
  },
  'log-unavailable': {
    title: 'The log does not answer',
    help: 'Check that Kafka runs at KAFKA_BROKERS; appends go on by themselves once it is back.',
    retryable: true,
  },
  'log-append-too-large': {
    title: 'A record is larger than the topic takes',
    help: 'Make the payload smaller (limit: 1,000,000 bytes), or store it elsewhere and send its address.',
    retryable: false,
  },
  'log-topic-missing': {
    title: 'A topic does not exist',
    help: 'Start a recorder once with REFOLD_CREATE_TOPICS=true, or create the topic as docs/operations.md shows.',
    retryable: false,
  },
  'log-replaced': {
    title: 'The log is not the one this database was folded from',
    help: 'Point KAFKA_BROKERS and DATABASE_URL at servers that belong together, or give Refold an empty database; docs/operations.md#log-replaced.',
    retryable: false,
  },
  'log-closed': {
    title: 'The log was closed while an append waited',
    help: 'Send the same event again, with the same id.',
    retryable: true,
  },
  'registry-unavailable': {
    title: 'The schema registry does not answer',
    help: 'Check SCHEMA_REGISTRY_URL; records with known schemas go on, others wait.',
    retryable: true,
  },
  'schema-unknown': {
    title: 'No schema has this id',
    help: 'Register the schema first; the id is in bytes 1 to 4 of the record.',
    retryable: false,
  },
  'schema-incompatible': {
    title: 'A schema does not fit the ones before it',
    help: 'Only add fields with a default (BACKWARD compatibility); docs/producing.md shows how.',
    retryable: false,
  },
  'database-unavailable': {
    title: 'Postgres does not answer',
    help: 'Check DATABASE_URL; events are still taken in, reads come back with the database.',
    retryable: true,
  },
  'migration-failed': {
    title: 'The database could not be brought to this version',
    help: 'Read the cause; nothing was changed, the step was rolled back.',
    retryable: false,
  },
  'database-newer': {
    title: 'The database was migrated by a newer version of Refold',
    help: 'Start that version (or one newer still): migrations go forward only. An older one needs a database of its own, which it folds from the log.',
    retryable: false,
  },
  'recorder-behind': {
    title: 'The recorder has not come far enough',
    help: 'Nothing is lost and it goes on by itself; if it stays so, look at the recorder with /readyz and its log lines.',
    retryable: true,
  },
  'memory-doubted': {
    title: 'What was in memory is not what the log says',
    help: 'It is read anew by itself; if the code still disagrees with its history, an incident names the step.',
    retryable: true,
  },
  'app-invalid': {
    title: 'The application cannot be used',
    help: 'Give --app a module whose default export is defineApp({ workflows, implementations }); the detail says what is wrong.',
    retryable: false,
  },
  'projection-parked': {
    title: 'A projection cannot go past an event',
    help: 'Mend its code and start it again, or pass the event with `refold projection skip <name> --reason …`; others go on.',
    retryable: true,
  },
  'projection-changed': {
    title: 'A projection is defined otherwise than before, under the same version',
    help: 'Give it a new version: then it is built anew beside the live one.',
    retryable: false,
  },
  'projection-name-taken': {
    title: 'A table of a projection has the name of another’s',
    help: 'All of them are views of one schema, projections: give the table another name in the code of one of them, under a new version where that is deployed already. The table of a fold has the name of its projection: give that another one.',
    retryable: false,
  },
  'operation-open': {
    title: 'Another operation of this projection is open',
    help: 'Wait for it (`refold operation watch`), promote it or abort it.',
    retryable: false,
  },
  'operation-impossible': {
    title: 'This cannot be done with the projection as it stands',
    help: 'Read the detail; `refold projection show <name>` says how it stands.',
    retryable: false,
  },
  'redis-unavailable': {
    title: 'Redis does not answer',
    help: 'Check REDIS_URL; nothing is lost meanwhile, some work may be repeated.',
    retryable: true,
  },
  'request-invalid': {
    title: 'The request is not valid',
    help: 'Correct what the detail says, and what `errors` names, if there are any; /openapi.json has the shapes.',
    retryable: false,
  },
  'request-too-large': {
    title: 'The request body is too large',
    help: 'Send it in several requests of at most 64 MiB.',
    retryable: false,
  },
  'method-not-allowed': {
    title: 'There is such a path, but not with this method',
    help: 'Use a method of the header `Allow`. `/openapi.json` lists all routes, `/docs` shows them.',
    retryable: false,
  },
  'media-type-unsupported': {
    title: 'The request body has a type that is not read here',
    help: 'Send `Content-Type: application/json`, or `application/x-ndjson` for one event a line.',
    retryable: false,
  },
  'idempotency-conflict': {
    title: 'Something else was recorded under this idempotency key',
    help: 'Use a new key for a new event; the same key only for the very same one.',
    retryable: false,
  },
  overloaded: {
    title: 'Too much is being sent at once',
    help: 'Send the same request again a little later, with the same ids or Idempotency-Key.',
    retryable: true,
  },
  'api-unavailable': {
    title: 'The REST API does not answer',
    help: 'Start it with `npm run refold -- start`, or give its address in REFOLD_API_URL.',
    retryable: true,
  },
  'event-invalid': { title: 'An event is not valid', help: 'Correct the field the detail names and send it again.', retryable: false },
  'name-reserved': {
    title: "Event names that begin with workflow. action. timer. wait. are Refold's own",
    help: 'Choose another name, or use the command for it (cancel, pause, resume, terminate).',
    retryable: false,
  },
  unauthenticated: {
    title: 'The request carries no valid token',
    help: 'Send `Authorization: Bearer <token>`, an API token or a JWT of the issuer set; `npm run refold -- stack status` prints the development token.',
    retryable: false,
  },
  'keys-unavailable': {
    title: 'The keys that tokens are signed with cannot be had',
    help: 'Check that REFOLD_JWKS_URL answers; tokens of keys that are known already, and API tokens, go on.',
    retryable: true,
  },
  forbidden: {
    title: 'This needs an operator’s token',
    help: 'Use one of REFOLD_OPERATOR_TOKENS; the development token is one.',
    retryable: false,
  },
  'not-found': {
    title: 'There is no such thing',
    help: "Check the id and the token's tenant; a thing just written may need `minPosition` to be seen.",
    retryable: false,
  },
  'workflow-unknown': {
    title: 'No runtime that is running registers this workflow',
    help: 'Start one with `npm run refold -- start --app <module>`, or name a version: then the execution waits for its runtime.',
    retryable: true,
  },
  'execution-ended': {
    title: 'The execution has ended',
    help: 'Nothing can be asked of it any more; GET …/result says how it ended.',
    retryable: false,
  },
  'execution-not-driven': {
    title: 'The execution has no workflow function',
    help: 'It is folded from the events sent to it; only an execution that was started (POST /v1/executions) can be asked this.',
    retryable: false,
  },
  'retry-impossible': {
    title: 'There is nothing to try again',
    help: 'A retry only brings forward the next attempt of an action that backs off; GET …/actions says how each stands. What failed for good is an outcome in the history: the workflow can call the action anew, or start another execution.',
    retryable: false,
  },
  'redrive-impossible': {
    title: 'This record cannot be appended again',
    help: 'Send the event anew, with what the verdict names corrected; GET /v1/verdicts/{position} shows what is kept of the record.',
    retryable: false,
  },
  'position-not-reached': {
    title: 'The reads have not come to this position yet',
    help: 'Ask again, or wait with `Prefer: wait=10`; the gap is in the detail.',
    retryable: true,
  },
  'map-invalid': {
    title: 'The import map is not valid',
    help: 'Compare it with examples/permit-log/map.json; the detail names the key.',
    retryable: false,
  },
  'import-failed': {
    title: 'The import stopped',
    help: 'Run the same command again: what is in already is recognised by its id.',
    retryable: true,
  },
  'import-unreadable': {
    title: 'The file cannot be read on from here',
    help: 'Correct the line the detail names and run the same command again; rows before it are in, and are recognised by their ids.',
    retryable: false,
  },
  usage: { title: 'The command was not understood', help: 'See `npm run refold -- --help`.', retryable: false },
  internal: { title: 'Refold made a mistake', help: 'Report it with the log lines around it.', retryable: true },
} as const satisfies Record<string, Entry>

export type ErrorCode = keyof typeof CATALOGUE

/** An error from the catalogue. `message` = title, detail and what to do; `cause` keeps what lay beneath. */
export class RefoldError extends Error {
  override readonly name = 'RefoldError'
  readonly code: ErrorCode
  readonly detail: string
  readonly retryable: boolean

  constructor(code: ErrorCode, detail: string, options?: { cause?: unknown }) {
    const entry = CATALOGUE[code]
    super(`${entry.title}: ${detail}. ${entry.help}`, options)
    this.code = code
    this.detail = detail
    this.retryable = entry.retryable
  }
}

/** Anything thrown, as an Error. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown))
}
