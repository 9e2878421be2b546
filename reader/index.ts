// refold/reader: what a downstream service imports.

export { type DeadLetter, deadLettersOf, listDeadLetters, redriveDeadLetter, viewDeadLetter } from './dead-letters.ts'
export { type Notification, readNotification } from './notification.ts'
export { type Delivery, type Handler, type ReaderOptions, registerConsumer, type RegisteredConsumer } from './reader.ts'
