chmod 000 stacks/closed
