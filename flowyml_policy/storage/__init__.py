"""The SQLite file: how it is created, opened, kept durable and brought to the newest schema.

Rules:
- A writer's file is WAL with `synchronous=FULL`: what is committed survives a power cut. Its mode is 0600, and
  is made so again where everybody may read it, unless another user owns it; what a group was let in to stays so.
- Several parts of the program may keep tables in one file. Each brings its own migrations and answers for them alone.
- A migration and its record in the table `migrations` are one transaction; a file with a record that this
  version does not know is refused, and so is a database that another program made.
- sqlite_utils applies migrations and is imported only then: it pulls in pandas where that is installed.
  Everything else goes through the standard library.
- A reader never creates a file, and never changes one (but for a pending migration).
- Only the leaves of `errors` that `Tables` names come out, each naming the file; the sqlite3 error is their cause.
"""
