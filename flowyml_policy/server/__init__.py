"""The company's server: signed policy, registered stacks, decisions and statuses in one place."""
