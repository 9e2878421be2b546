// What docs/verdicts.md says of each reason. The types hold it to the code: a reason without a text, or a text without its
// reason, does not compile.

import type { QuarantineReason } from '../schemas/decoded.ts'
import type { Judged } from '../workflow/accept.ts'

type Refused = Exclude<Judged, { verdict: 'accepted' }>
type ReasonOf<V extends Refused['verdict']> = Extract<Refused, { verdict: V }>['reason']

/** `cause`: how a record comes to it. `todo`: what its sender, or a person, does. */
export type Explained = { cause: string; todo: string }

type Explanations = {
  [V in Refused['verdict']]: Readonly<Record<ReasonOf<V>, Explained>>
} & { quarantined: Readonly<Record<QuarantineReason, Explained>> }

export const VERDICTS: Readonly<Record<keyof Explanations, string>> = {
  duplicate:
    'The event counts already; this copy changes nothing. Nothing is kept of its bytes, and it cannot be redriven: there is nothing to mend.',
  conflict: 'It contradicts what was accepted before it. The first counts.',
  late: 'Its execution had ended.',
  early: 'It came before its time.',
  quarantined: 'It is not an event of this log: this can be said of it without its history. Its bytes are kept as they were.',
}

export const REASONS: Explanations = {
  duplicate: {
    'same-content': {
      cause: 'The same event was sent again: a retry, a second run of an import, a redrive of what was redriven before.',
      todo: 'Nothing. This is how repeating is safe.',
    },
    'outcome-known': {
      cause: 'Two workers (or two runtimes) told the outcome of one attempt, or that one timer fired; the first counts.',
      todo: 'Nothing, if it is rare. Often: look whether attempts run longer than their timeout.',
    },
  },
  conflict: {
    'other-content': {
      cause:
        'Another event was accepted under this event_id (or Idempotency-Key) in this execution; user, causes and times do not count as content.',
      todo: 'Find out which of the two is right. Send the other under an id of its own.',
    },
    'started-twice': {
      cause: 'A second workflow.started for an execution that is driven; its id is derived, so a client made it by hand.',
      todo: 'Use another business key for another run.',
    },
    'not-driven': {
      cause: 'A decision for an execution that was never started: only runtimes make decisions.',
      todo: 'Find the client that writes events with `decision` above 0.',
    },
    'decision-number': {
      cause: 'A runtime appended a decision after ones that the log does not have, or has already under another id.',
      todo: 'Nothing: a runtime sends what is missing again. If the execution stands still, its incident says why.',
    },
    'decision-chain': {
      cause: 'Two runtimes whose code decides differently drove one execution; the first decision of a number counts.',
      todo: 'Give two versions of an application two workflow versions. Its incident shows expected and got.',
    },
    'decision-ahead': {
      cause:
        'A runtime decided on an outcome before the log had it (`decision_seq`, `decision_input`), and another event of the execution came first.',
      todo: 'Nothing: the runtime decides again on what came.',
    },
  },
  late: {
    ended: {
      cause: 'The execution was completed, failed, cancelled or terminated before this record.',
      todo: 'Nothing, where a last message crossed the end. Else: send it to the execution it is meant for.',
    },
  },
  early: {
    'timer-not-due': {
      cause: "timer.fired was appended before its fire_at by the broker's clock.",
      todo: 'Nothing: the runtime fires it again when it is due. Often: compare clocks (`refold doctor`).',
    },
  },
  quarantined: {
    undecodable: {
      cause:
        'No Confluent framing (byte 0 and a schema id), bytes that are not Avro of the schema they name, bytes left over, no value; or it was in a compressed batch that unpacks to more than 16 MiB.',
      todo: 'Check the serializer: JSON or plain Avro is a usual cause. Of a batch too large nothing is kept: send it anew.',
    },
    'schema-unknown': {
      cause: 'The registry has no schema under the id in bytes 1 to 4.',
      todo: 'Register the schema, or point the producer at our registry; then redrive.',
    },
    'schema-unreadable': {
      cause: 'Its schema cannot be read as a WorkflowEvent: a required field is missing, or has another type.',
      todo: 'Send it anew with a schema that is BACKWARD compatible; the subject refuses others from now on.',
    },
    'too-large': {
      cause: 'A field, the payload (1,000,000 bytes) or the record (1 MiB) is beyond its limit.',
      todo: 'Store what is large elsewhere and send its address.',
    },
    'too-deep': { cause: 'The payload is nested more than 64 levels deep.', todo: 'Send it flatter.' },
    'not-storable': {
      cause: 'NUL or half a surrogate pair in a text, or a control character in a name.',
      todo: 'Clean the text where it comes from; half a pair is a text that was cut in the middle of a character.',
    },
    'bad-id': { cause: 'event_id or execution_id is not a UUID in lower case.', todo: 'Write ids in lower case, with hyphens.' },
    'bad-date': {
      cause: 'created_at is outside the years 1 to 9999.',
      todo: 'It is milliseconds since 1970: micro- and nanoseconds are a usual cause.',
    },
    'bad-payload': {
      cause: 'The payload is not JSON; or an event of ours lacks what its payload must have.',
      todo: 'Encode it as JSON text once, not twice.',
    },
    'bad-decision': { cause: '`decision` or `decision_chain` is malformed.', todo: 'Leave both out: they are for runtimes.' },
    'bad-name': { cause: 'A name that must say something is empty.', todo: 'Set the field the detail names.' },
    transactional: {
      cause: 'It was written inside a Kafka transaction, committed or not: readers cannot tell those apart the same way.',
      todo: 'Produce without a transaction. A redrive makes it an event, also if its transaction was aborted: look first.',
    },
    'wrong-key': { cause: 'The record key is not its execution_id.', todo: 'Set the key to the id, as text; then redrive.' },
    'wrong-partition': {
      cause: 'Its partition is not murmur2 of the key. librdkafka clients (Python, Go, .NET) partition otherwise by default.',
      todo: 'Set `partitioner=murmur2_random` in the producer; then redrive: it goes to its own partition, after what was accepted there.',
    },
    'reserved-id': {
      cause: 'A version 8 UUID on an event of an outsider, or an event of ours whose id is not derived from what it is.',
      todo: 'Let Refold make the ids (leave event_id out over REST), or use another version.',
    },
    'reserved-name': {
      cause: 'A name that begins with workflow. action. timer. wait. and is none of ours, or is used in the wrong role.',
      todo: 'Choose another name; ask for cancel, pause, resume and terminate over REST.',
    },
  },
}
