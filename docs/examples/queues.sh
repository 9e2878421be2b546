# Which machines read which queue. test/docs/queues.test.ts takes the settings from here.

# region workers
# On the machines with such a card:
REFOLD_WORKER_QUEUES=gpu npm run refold -- start --roles worker --app film.ts
# On all others, which read the queue without a name:
REFOLD_WORKER_QUEUES=- npm run refold -- start --roles worker --app film.ts
# endregion
