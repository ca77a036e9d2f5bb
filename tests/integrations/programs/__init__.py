"""Programs that tests run in the environment with FlowyML: many cases in one process, for its import takes seconds."""
