chmod 000 stacks
